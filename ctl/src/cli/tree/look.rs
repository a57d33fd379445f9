//! Commands that look at containers and copy their files.

use super::{BASE, FILTER, FORMAT, NO_TRUNC};
use crate::cli::flag::Takes::{Bool, Int, Text};
use crate::cli::flag::{flag, long, unbuilt_switch};
use crate::cli::verb::Arity::{AtLeast, Between, Exactly};
use crate::cli::verb::Verb;
use crate::cmd;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "cp",
        names: &["cp"],
        about: "Copy files/folders between a container and the local filesystem",
        more: "Use '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\nUse '-' as the destination to stream a tar archive of a\ncontainer source to stdout.",
        usage: &[
            "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-",
            "[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        ],
        examples: &[
            "gantry cp web:/etc/hosts .",
            "gantry cp ./site/. web:/srv",
            "gantry cp web:/var/log - | tar t",
        ],
        arity: Exactly(2),
        flags: &[&[
            flag(
                "archive",
                'a',
                Bool(false),
                "Archive mode (copy all uid/gid information)",
            ),
            flag("follow-link", 'L', Bool(false), "Always follow symbol link in SRC_PATH"),
            flag(
                "quiet",
                'q',
                Bool(false),
                "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
            ),
        ]],
        run: |daemon, parsed| Box::pin(cmd::cp::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "diff",
        names: &["diff"],
        about: "Inspect changes to files or directories on a container's filesystem",
        usage: &["CONTAINER"],
        examples: &["gantry diff web"],
        arity: Exactly(1),
        run: |daemon, parsed| Box::pin(cmd::simple::diff(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "inspect",
        group: "",
        about: "Return low-level information on gantry objects",
        usage: &["[OPTIONS] NAME|ID [NAME|ID...]"],
        examples: &[
            "gantry inspect web",
            "gantry inspect -f '{{.State.Status}} {{.State.ExitCode}}' web",
            "gantry inspect --type image busybox",
            "gantry inspect --type network bridge",
        ],
        arity: AtLeast(1),
        flags: &[&[
            flag(
                "format",
                'f',
                Text,
                "Format output using a custom template: 'json', or a Go TEMPLATE",
            ),
            flag(
                "size",
                's',
                Bool(false),
                "Display total file sizes if the type is container",
            ),
            long("type", Text, "Only inspect objects of the given type"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::inspect::any(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "container inspect",
        top: false,
        names: &["inspect"],
        about: "Display detailed information on one or more containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry container inspect -f '{{json .Mounts}}' web"],
        arity: AtLeast(1),
        flags: &[&[
            flag(
                "format",
                'f',
                Text,
                "Format output using a custom template: 'json', or a Go TEMPLATE",
            ),
            flag("size", 's', Bool(false), "Display total file sizes"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::inspect::containers(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "logs",
        names: &["logs"],
        about: "Fetch the logs of a container",
        usage: &["[OPTIONS] CONTAINER"],
        examples: &[
            "gantry logs -f --tail 100 web",
            "gantry logs -t --since 10m --until 5m web",
        ],
        arity: Exactly(1),
        flags: &[&[
            flag("follow", 'f', Bool(false), "Follow log output"),
            long(
                "since",
                Text,
                "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
            ),
            flag("tail", 'n', Text, "Number of lines to show from the end of the logs").default("\"all\""),
            flag("timestamps", 't', Bool(false), "Show timestamps"),
            long(
                "until",
                Text,
                "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
            ),
            unbuilt_switch("details"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::logs::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "port",
        names: &["port"],
        about: "List port mappings or a specific mapping for the container",
        usage: &["CONTAINER [PRIVATE_PORT[/PROTO]]"],
        examples: &["gantry port web", "gantry port web 80/tcp"],
        arity: Between(1, 2),
        run: |daemon, parsed| Box::pin(cmd::ports::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "ps",
        names: &["ls", "list", "ps"],
        about: "List containers",
        usage: &["[OPTIONS]"],
        examples: &[
            "gantry ps -a",
            "gantry ps -q --filter status=exited",
            "gantry ps --filter network=web --filter publish=80",
            "gantry ps --format 'table {{.Names}}\\t{{.Status}}'",
        ],
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Show all containers (default shows just running)",
            ),
            FILTER,
            FORMAT,
            flag("last", 'n', Int, "Show n last created containers (includes all states)").default("-1"),
            flag(
                "latest",
                'l',
                Bool(false),
                "Show the latest created container (includes all states)",
            ),
            NO_TRUNC,
            flag("quiet", 'q', Bool(false), "Only display container IDs"),
            flag("size", 's', Bool(false), "Display total file sizes"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::ps::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "stats",
        names: &["stats"],
        about: "Display a live stream of container(s) resource usage statistics",
        usage: &["[OPTIONS] [CONTAINER...]"],
        examples: &[
            "gantry stats",
            "gantry stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web",
        ],
        arity: AtLeast(0),
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Show all containers (default shows just running)",
            ),
            FORMAT,
            long(
                "no-stream",
                Bool(false),
                "Disable streaming stats and only pull the first result",
            ),
            long("no-trunc", Bool(false), "Do not truncate output"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::stats::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "top",
        names: &["top"],
        about: "Display the running processes of a container",
        usage: &["CONTAINER [ps OPTIONS]"],
        examples: &["gantry top web", "gantry top web -o pid,args"],
        arity: AtLeast(1),
        flags_first: true,
        run: |daemon, parsed| Box::pin(cmd::simple::top(daemon, parsed)),
        ..BASE
    },
];
