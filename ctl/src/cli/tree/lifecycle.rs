//! Commands that make, run and end containers.

use super::container::{CONTAINER, CONTAINER_UNBUILT};
use super::{BASE, DETACH_KEYS, SIG_PROXY, STOP_SIGNAL, TIMEOUT};
use crate::cli::flag::Takes::{Bool, Bytes, Cpus, Env, Int, List, Restart, Swap, Text};
use crate::cli::flag::{Flag, flag, long, unbuilt};
use crate::cli::verb::Arity::{AtLeast, Between, Exactly};
use crate::cli::verb::Verb;
use crate::cmd;

/// Flags of `update`.
const UPDATE: &[Flag] = &[
    long("blkio-weight", Int, "Block IO (relative weight), between 10 and 1000"),
    long("cpu-period", Int, "Limit CPU CFS (Completely Fair Scheduler) period"),
    long("cpu-quota", Int, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    long("cpu-rt-period", Int, "Limit the CPU real-time period in microseconds"),
    long("cpu-rt-runtime", Int, "Limit the CPU real-time runtime in microseconds"),
    flag("cpu-shares", 'c', Int, "CPU shares (relative weight)"),
    long("cpus", Cpus, "Number of CPUs"),
    long("cpuset-cpus", Text, "CPUs in which to allow execution (0-3, 0,1)"),
    long("cpuset-mems", Text, "MEMs in which to allow execution (0-3, 0,1)"),
    flag("memory", 'm', Bytes, "Memory limit"),
    long("memory-reservation", Bytes, "Memory soft limit"),
    long(
        "memory-swap",
        Swap,
        "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
    ),
    long("pids-limit", Int, "Tune container pids limit (set -1 for unlimited)"),
    long("restart", Restart, "Restart policy to apply when a container exits"),
];

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        names: &["create"],
        about: "Create a new container",
        usage: &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
        examples: &[
            "gantry create --name job busybox sh -c 'echo hi'",
            "gantry create -it busybox sh",
            "gantry create --name web -p 127.0.0.1:8080:80 --network front busybox httpd -f",
        ],
        arity: AtLeast(1),
        flags_first: true,
        flags: &[CONTAINER, CONTAINER_UNBUILT],
        run: |daemon, parsed| Box::pin(cmd::create::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "run",
        names: &["run"],
        about: "Create and run a new container from an image",
        more: "Without --network the container is in the default network (bridge).",
        usage: &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
        examples: &[
            "gantry run --rm busybox echo hi",
            "gantry run -it --rm -v /srv:/srv:ro busybox sh",
            "gantry run -d --name web -p 8080:80 busybox httpd -f -p 80",
            "gantry run -d --name db --network back --network-alias store --ip 172.30.0.5 busybox top",
            "gantry run -d --network name=front,alias=w,gw-priority=1 --network back busybox top",
            "gantry run -d --network host --memory 64m --cpus 0.5 busybox httpd -f",
        ],
        arity: AtLeast(1),
        flags_first: true,
        flags: &[
            CONTAINER,
            &[
                flag(
                    "detach",
                    'd',
                    Bool(false),
                    "Run container in background and print container ID",
                ),
                DETACH_KEYS,
                SIG_PROXY,
            ],
            CONTAINER_UNBUILT,
        ],
        run: |daemon, parsed| Box::pin(cmd::run::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "start",
        names: &["start"],
        about: "Start one or more stopped containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry start web", "gantry start -ai job"],
        arity: AtLeast(1),
        flags: &[&[
            flag("attach", 'a', Bool(false), "Attach STDOUT/STDERR and forward signals"),
            DETACH_KEYS,
            flag("interactive", 'i', Bool(false), "Attach container's STDIN"),
            unbuilt("checkpoint"),
            unbuilt("checkpoint-dir"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::start::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "stop",
        names: &["stop"],
        about: "Stop one or more running containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry stop web", "gantry stop -t 1 -s INT web"],
        arity: AtLeast(1),
        flags: &[&[STOP_SIGNAL, TIMEOUT]],
        run: |daemon, parsed| Box::pin(cmd::simple::stop(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "kill",
        names: &["kill"],
        about: "Kill one or more running containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry kill web", "gantry kill -s HUP web"],
        arity: AtLeast(1),
        flags: &[&[STOP_SIGNAL]],
        run: |daemon, parsed| Box::pin(cmd::simple::kill(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "restart",
        names: &["restart"],
        about: "Restart one or more containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry restart -t 3 web"],
        arity: AtLeast(1),
        flags: &[&[STOP_SIGNAL, TIMEOUT]],
        run: |daemon, parsed| Box::pin(cmd::simple::restart(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "rm",
        names: &["rm", "remove"],
        about: "Remove one or more containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &["gantry rm web", "gantry rm -fv $(gantry ps -aq)"],
        arity: AtLeast(1),
        flags: &[&[
            flag(
                "force",
                'f',
                Bool(false),
                "Force the removal of a running container (uses SIGKILL)",
            ),
            flag(
                "volumes",
                'v',
                Bool(false),
                "Remove anonymous volumes associated with the container",
            ),
            flag("link", 'l', Bool(false), "Remove the specified link"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::simple::rm(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "update",
        names: &["update"],
        about: "Update configuration of one or more containers",
        usage: &["[OPTIONS] CONTAINER [CONTAINER...]"],
        examples: &[
            "gantry update --memory 128m --memory-swap 128m web",
            "gantry update --restart unless-stopped web db",
        ],
        arity: AtLeast(1),
        flags: &[UPDATE],
        run: |daemon, parsed| Box::pin(cmd::update::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "commit",
        names: &["commit"],
        about: "Create a new image from a container's changes",
        usage: &["[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"],
        examples: &["gantry commit -m 'with tools' -c 'CMD [\"sh\"]' web mine:1"],
        arity: Between(1, 2),
        flags: &[&[
            flag(
                "author",
                'a',
                Text,
                "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")",
            ),
            flag("change", 'c', List, "Apply Dockerfile instruction to the created image"),
            flag("message", 'm', Text, "Commit message"),
            flag("pause", 'p', Bool(true), "Pause container during commit").default("true"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::commit::commit(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "export",
        names: &["export"],
        about: "Export a container's filesystem as a tar archive",
        usage: &["[OPTIONS] CONTAINER"],
        examples: &["gantry export -o web.tar web", "gantry export web | tar t"],
        arity: Exactly(1),
        flags: &[&[flag("output", 'o', Text, "Write to a file, instead of STDOUT")]],
        run: |daemon, parsed| Box::pin(cmd::commit::export(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "rename",
        names: &["rename"],
        about: "Rename a container",
        usage: &["CONTAINER NEW_NAME"],
        examples: &["gantry rename web old-web"],
        arity: Exactly(2),
        run: |daemon, parsed| Box::pin(cmd::simple::rename(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "pause",
        names: &["pause"],
        about: "Pause all processes within one or more containers",
        usage: &["CONTAINER [CONTAINER...]"],
        examples: &["gantry pause web"],
        arity: AtLeast(1),
        run: |daemon, parsed| Box::pin(cmd::simple::pause(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "unpause",
        names: &["unpause"],
        about: "Unpause all processes within one or more containers",
        usage: &["CONTAINER [CONTAINER...]"],
        examples: &["gantry unpause web"],
        arity: AtLeast(1),
        run: |daemon, parsed| Box::pin(cmd::simple::unpause(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "wait",
        names: &["wait"],
        about: "Block until one or more containers stop, then print their exit codes",
        usage: &["CONTAINER [CONTAINER...]"],
        examples: &["gantry wait job", "gantry wait --condition removed job"],
        arity: AtLeast(1),
        flags: &[&[long(
            "condition",
            Text,
            "What to wait for (\"not-running\", \"next-exit\", \"removed\")",
        )
        .default("\"not-running\"")]],
        run: |daemon, parsed| Box::pin(cmd::simple::wait(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "exec",
        names: &["exec"],
        about: "Execute a command in a running container",
        usage: &["[OPTIONS] CONTAINER COMMAND [ARG...]"],
        examples: &[
            "gantry exec -it web sh",
            "gantry exec -e DEBUG=1 -w /srv web ls -l",
            "gantry exec -d web touch /tmp/x",
        ],
        arity: AtLeast(2),
        flags_first: true,
        flags: &[&[
            flag(
                "detach",
                'd',
                Bool(false),
                "Detached mode: run command in the background",
            ),
            DETACH_KEYS,
            flag("env", 'e', Env, "Set environment variables"),
            long("env-file", List, "Read in a file of environment variables"),
            flag("interactive", 'i', Bool(false), "Keep STDIN open even if not attached"),
            long("privileged", Bool(false), "Give extended privileges to the command"),
            flag("tty", 't', Bool(false), "Allocate a pseudo-TTY"),
            flag(
                "user",
                'u',
                Text,
                "Username or UID (format: \"<name|uid>[:<group|gid>]\")",
            ),
            flag("workdir", 'w', Text, "Working directory inside the container"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::exec::run(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "attach",
        names: &["attach"],
        about: "Attach local standard input, output, and error streams to a running container",
        usage: &["[OPTIONS] CONTAINER"],
        examples: &[
            "gantry attach web",
            "gantry attach --no-stdin --sig-proxy=false web",
            "gantry attach --detach-keys ctrl-x,x web",
        ],
        arity: Exactly(1),
        flags: &[&[
            DETACH_KEYS,
            long("no-stdin", Bool(false), "Do not attach STDIN"),
            SIG_PROXY,
        ]],
        run: |daemon, parsed| Box::pin(cmd::attach::run(daemon, parsed)),
        ..BASE
    },
];
