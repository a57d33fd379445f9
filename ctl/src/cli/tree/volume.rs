//! Commands of volumes.

use super::{BASE, FILTER, FORMAT};
use crate::cli::flag::Takes::{Bool, Filter, Label, Map, Text};
use crate::cli::flag::{flag, long, unbuilt, unbuilt_switch};
use crate::cli::verb::Arity::{AtLeast, AtMost};
use crate::cli::verb::Verb;
use crate::cmd;

/// What all of them have in common.
const VOLUME: Verb = Verb {
    top: false,
    group: "volume",
    ..BASE
};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "volume create",
        names: &["create"],
        about: "Create a volume",
        usage: &["[OPTIONS] [VOLUME]"],
        examples: &[
            "gantry volume create data",
            "gantry volume create --label tier=db -o type=tmpfs -o device=tmpfs -o o=size=100m fast",
        ],
        arity: AtMost(1),
        flags: &[&[
            flag("driver", 'd', Text, "Specify volume driver name").default("\"local\""),
            long("label", Label, "Set metadata for a volume"),
            long("name", Text, "Specify volume name"),
            flag("opt", 'o', Map, "Set driver specific options"),
            unbuilt("availability"),
            unbuilt("group"),
            unbuilt("limit-bytes"),
            unbuilt("required-bytes"),
            unbuilt("scope"),
            unbuilt("secret"),
            unbuilt("sharing"),
            unbuilt("topology-preferred"),
            unbuilt("topology-required"),
            unbuilt("type"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::volume::create(daemon, parsed)),
        ..VOLUME
    },
    Verb {
        name: "volume inspect",
        names: &["inspect"],
        about: "Display detailed information on one or more volumes",
        usage: &["[OPTIONS] VOLUME [VOLUME...]"],
        examples: &["gantry volume inspect -f '{{.Mountpoint}}' data"],
        arity: AtLeast(1),
        flags: &[&[flag(
            "format",
            'f',
            Text,
            "Format output using a custom template: 'json', or a Go TEMPLATE",
        )]],
        run: |daemon, parsed| Box::pin(cmd::inspect::volumes(daemon, parsed)),
        ..VOLUME
    },
    Verb {
        name: "volume ls",
        names: &["ls", "list"],
        about: "List volumes",
        usage: &["[OPTIONS]"],
        examples: &["gantry volume ls", "gantry volume ls -q --filter dangling=true"],
        flags: &[&[
            FILTER,
            FORMAT,
            flag("quiet", 'q', Bool(false), "Only display volume names"),
            unbuilt_switch("cluster"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::volume::list(daemon, parsed)),
        ..VOLUME
    },
    Verb {
        name: "volume prune",
        names: &["prune"],
        about: "Remove unused local volumes",
        usage: &["[OPTIONS]"],
        examples: &["gantry volume prune -f", "gantry volume prune -af --filter label!=keep"],
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Remove all unused volumes, not just anonymous ones",
            ),
            long("filter", Filter, "Provide filter values (e.g. \"label=<label>\")"),
            flag("force", 'f', Bool(false), "Do not prompt for confirmation"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::prune::volumes(daemon, parsed)),
        ..VOLUME
    },
    Verb {
        name: "volume rm",
        names: &["rm", "remove"],
        about: "Remove one or more volumes. You cannot remove a volume that is in use by a container",
        usage: &["[OPTIONS] VOLUME [VOLUME...]"],
        examples: &["gantry volume rm data"],
        arity: AtLeast(1),
        flags: &[&[flag(
            "force",
            'f',
            Bool(false),
            "Do not error if the volume does not exist",
        )]],
        run: |daemon, parsed| Box::pin(cmd::volume::remove(daemon, parsed)),
        ..VOLUME
    },
];
