//! Commands of the daemon itself.

use super::{BASE, FILTER};
use crate::cli::flag::Takes::{Bool, Text};
use crate::cli::flag::{flag, long};
use crate::cli::verb::Verb;
use crate::cmd;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "system df",
        top: false,
        group: "system",
        names: &["df"],
        about: "Show disk usage",
        usage: &["[OPTIONS]"],
        examples: &["gantry system df", "gantry system df -v"],
        flags: &[&[
            long(
                "format",
                Text,
                "Format output using a custom template: 'table' (default), 'table TEMPLATE', 'json', or a Go TEMPLATE",
            ),
            flag("verbose", 'v', Bool(false), "Show detailed information on space usage"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::df::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "events",
        group: "system",
        names: &["events"],
        about: "Get real time events from the server",
        usage: &["[OPTIONS]"],
        examples: &[
            "gantry events --since 10m",
            "gantry events --filter type=network",
            "gantry events --filter type=container --format '{{.Action}} {{.Actor.ID}}'",
        ],
        flags: &[&[
            FILTER,
            long(
                "format",
                Text,
                "Format output using a custom template: 'json', or a Go TEMPLATE",
            ),
            long("since", Text, "Show all events created since timestamp"),
            long("until", Text, "Stream events until this timestamp"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::events::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "info",
        group: "system",
        names: &["info"],
        about: "Display system-wide information",
        usage: &["[OPTIONS]"],
        examples: &["gantry info", "gantry info -f '{{.Driver}} {{.CgroupVersion}}'"],
        flags: &[&[flag(
            "format",
            'f',
            Text,
            "Format output using a custom template: 'json', or a Go TEMPLATE",
        )]],
        run: |daemon, parsed| Box::pin(cmd::system::info(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "version",
        group: "",
        about: "Show the gantry version information",
        usage: &["[OPTIONS]"],
        examples: &["gantry version", "gantry version -f '{{.Server.Version}}'"],
        flags: &[&[flag(
            "format",
            'f',
            Text,
            "Format output using a custom template: 'json', or a Go TEMPLATE",
        )]],
        run: |daemon, parsed| Box::pin(cmd::system::version(daemon, parsed)),
        ..BASE
    },
];
