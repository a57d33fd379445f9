//! All commands and their flags.

use super::flag::Takes::{Bool, Bytes, Cpus, Env, Filter, Int, Label, List, Map, Stream, Swap, Text, Ulimit};
use super::flag::{Flag, flag, long, unbuilt, unbuilt_switch};
use super::verb::Arity::{AtLeast, AtMost, Between, Exactly, None as NoArgs};
use super::verb::Verb;
use crate::cmd;

/// Management commands.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("system", "Manage gantry"),
];

/// Flags before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    flag("debug", 'D', Bool(false), "Enable debug mode"),
    flag("host", 'H', Text, "Daemon socket to connect to (GANTRY_HOST)").default("\"unix:///run/gantry/gantry.sock\""),
    flag("log-level", 'l', Text, "Set the logging level").default("\"info\""),
    flag("version", 'v', Bool(false), "Print version information and quit"),
    flag("help", 'h', Bool(false), "Print usage"),
    unbuilt("namespace"),
];

const FORMAT: Flag = long(
    "format",
    Text,
    "Format output using a custom template: 'table' (default), 'table TEMPLATE', 'json', or a Go TEMPLATE",
);
const FILTER: Flag = flag("filter", 'f', Filter, "Filter output based on conditions provided");
const NO_TRUNC: Flag = long("no-trunc", Bool(false), "Don't truncate output");
const DETACH_KEYS: Flag = long(
    "detach-keys",
    Text,
    "Override the key sequence for detaching a container",
);
const SIG_PROXY: Flag = long("sig-proxy", Bool(true), "Proxy received signals to the process").default("true");
const TIMEOUT: Flag = flag("timeout", 't', Int, "Seconds to wait before killing the container").alias("time");
const STOP_SIGNAL: Flag = flag("signal", 's', Text, "Signal to send to the container");

/// Flags of `run` and `create`.
const CONTAINER: &[Flag] = &[
    flag("attach", 'a', Stream, "Attach to STDIN, STDOUT or STDERR"),
    long(
        "annotation",
        Map,
        "Add an annotation to the container (passed through to the OCI runtime)",
    ),
    long("cap-add", List, "Add Linux capabilities"),
    long("cap-drop", List, "Drop Linux capabilities"),
    long("cgroupns", Text, "Cgroup namespace to use (host|private)"),
    long("cidfile", Text, "Write the container ID to the file"),
    flag("cpu-shares", 'c', Int, "CPU shares (relative weight)"),
    long("cpus", Cpus, "Number of CPUs"),
    long("cpuset-cpus", Text, "CPUs in which to allow execution (0-3, 0,1)"),
    long("cpuset-mems", Text, "MEMs in which to allow execution (0-3, 0,1)"),
    long("domainname", Text, "Container NIS domain name"),
    long("entrypoint", Text, "Overwrite the default ENTRYPOINT of the image"),
    flag("env", 'e', Env, "Set environment variables"),
    long("env-file", List, "Read in a file of environment variables"),
    long(
        "hook-spec",
        Text,
        "File of OCI hooks (absolute path on the daemon's host) to run around the container",
    ),
    flag("hostname", 'h', Text, "Container host name"),
    flag("interactive", 'i', Bool(false), "Keep STDIN open even if not attached"),
    flag("label", 'l', Label, "Set meta data on a container"),
    long("label-file", List, "Read in a line delimited file of labels"),
    long("log-driver", Text, "Logging driver for the container"),
    long("log-opt", List, "Log driver options"),
    flag("memory", 'm', Bytes, "Memory limit"),
    long("memory-reservation", Bytes, "Memory soft limit"),
    long(
        "memory-swap",
        Swap,
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
    ),
    long("name", Text, "Assign a name to the container"),
    long("network", Text, "Connect a container to a network: none or host")
        .default("none; bridge networks are not built yet")
        .alias("net"),
    long("oom-score-adj", Int, "Tune host's OOM preferences (-1000 to 1000)"),
    long("pids-limit", Int, "Tune container pids limit (set -1 for unlimited)"),
    long("privileged", Bool(false), "Give extended privileges to this container"),
    long(
        "pull",
        Text,
        "Pull image before running (\"always\", \"missing\", \"never\")",
    )
    .default("\"missing\""),
    flag("quiet", 'q', Bool(false), "Suppress the pull output"),
    long(
        "read-only",
        Bool(false),
        "Mount the container's root filesystem as read only",
    ),
    long(
        "rm",
        Bool(false),
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    long("runtime", Text, "Runtime to use for this container"),
    long("security-opt", List, "Security Options"),
    long("shm-size", Bytes, "Size of /dev/shm"),
    long("stop-signal", Text, "Signal to stop the container"),
    long("stop-timeout", Int, "Timeout (in seconds) to stop a container"),
    long("tmpfs", List, "Mount a tmpfs directory"),
    flag("tty", 't', Bool(false), "Allocate a pseudo-TTY"),
    long("ulimit", Ulimit, "Ulimit options"),
    flag("user", 'u', Text, "Username or UID (format: <name|uid>[:<group|gid>])"),
    flag("volume", 'v', List, "Bind mount a host path"),
    flag("workdir", 'w', Text, "Working directory inside the container"),
];

/// What Docker's `run` and `create` know beyond that.
const CONTAINER_UNBUILT: &[Flag] = &[
    unbuilt("add-host"),
    unbuilt("blkio-weight"),
    unbuilt("blkio-weight-device"),
    unbuilt("cgroup-parent"),
    unbuilt("cpu-count"),
    unbuilt("cpu-percent"),
    unbuilt("cpu-period"),
    unbuilt("cpu-quota"),
    unbuilt("cpu-rt-period"),
    unbuilt("cpu-rt-runtime"),
    unbuilt("device"),
    unbuilt("device-cgroup-rule"),
    unbuilt("device-read-bps"),
    unbuilt("device-read-iops"),
    unbuilt("device-write-bps"),
    unbuilt("device-write-iops"),
    unbuilt_switch("disable-content-trust"),
    unbuilt("dns"),
    unbuilt("dns-opt"),
    unbuilt("dns-option"),
    unbuilt("dns-search"),
    unbuilt("expose"),
    unbuilt("gpus"),
    unbuilt("group-add"),
    unbuilt("health-cmd"),
    unbuilt_switch("health-exit-on-unhealthy"),
    unbuilt("health-interval"),
    unbuilt("health-retries"),
    unbuilt("health-start-interval"),
    unbuilt("health-start-period"),
    unbuilt("health-timeout"),
    unbuilt_switch("init"),
    unbuilt("io-maxbandwidth"),
    unbuilt("io-maxiops"),
    unbuilt("ip"),
    unbuilt("ip6"),
    unbuilt("ipc"),
    unbuilt("isolation"),
    unbuilt("kernel-memory"),
    unbuilt("link"),
    unbuilt("link-local-ip"),
    unbuilt("mac-address"),
    unbuilt("memory-swappiness"),
    unbuilt("mount"),
    unbuilt("net-alias"),
    unbuilt("network-alias"),
    unbuilt_switch("no-healthcheck"),
    unbuilt_switch("oom-kill-disable"),
    unbuilt("pid"),
    unbuilt("platform"),
    unbuilt("publish").short('p'),
    unbuilt_switch("publish-all").short('P'),
    unbuilt("restart"),
    unbuilt("storage-opt"),
    unbuilt("sysctl"),
    unbuilt_switch("use-api-socket"),
    unbuilt("userns"),
    unbuilt("uts"),
    unbuilt("volume-driver"),
    unbuilt("volumes-from"),
];

const BASE: Verb = Verb {
    name: "",
    top: true,
    group: "container",
    names: &[],
    about: "",
    more: "",
    usage: &[],
    examples: &[],
    arity: NoArgs,
    flags_first: false,
    flags: &[],
    run: |_, _| Box::pin(async { Ok(0) }),
};

/// Docker's order is the alphabet's; help sorts nothing.
pub(crate) const VERBS: &[Verb] = &[
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
        name: "create",
        names: &["create"],
        about: "Create a new container",
        usage: &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
        examples: &[
            "gantry create --name job busybox sh -c 'echo hi'",
            "gantry create -it busybox sh",
        ],
        arity: AtLeast(1),
        flags_first: true,
        flags: &[CONTAINER, CONTAINER_UNBUILT],
        run: |daemon, parsed| Box::pin(cmd::create::run(daemon, parsed)),
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
        name: "events",
        group: "system",
        names: &["events"],
        about: "Get real time events from the server",
        usage: &["[OPTIONS]"],
        examples: &[
            "gantry events --since 10m",
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
        name: "history",
        group: "image",
        names: &["history"],
        about: "Show the history of an image",
        usage: &["[OPTIONS] IMAGE"],
        examples: &[
            "gantry history busybox",
            "gantry history --no-trunc --format '{{.ID}}: {{.CreatedBy}}' busybox",
        ],
        arity: Exactly(1),
        flags: &[&[
            FORMAT,
            flag(
                "human",
                'H',
                Bool(true),
                "Print sizes and dates in human readable format",
            )
            .default("true"),
            NO_TRUNC,
            flag("quiet", 'q', Bool(false), "Only show image IDs"),
            unbuilt("platform"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::images::history(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "images",
        group: "image",
        names: &["ls", "list"],
        about: "List images",
        usage: &["[OPTIONS] [REPOSITORY[:TAG]]"],
        examples: &[
            "gantry images",
            "gantry images --filter dangling=true -q",
            "gantry images --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
        ],
        arity: AtMost(1),
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Show all images (default hides intermediate images)",
            ),
            long("digests", Bool(false), "Show digests"),
            FILTER,
            FORMAT,
            NO_TRUNC,
            flag("quiet", 'q', Bool(false), "Only show image IDs"),
            unbuilt_switch("tree"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::images::list(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "import",
        group: "image",
        names: &["import"],
        about: "Import the contents from a tarball to create a filesystem image",
        usage: &["[OPTIONS] file|- [REPOSITORY[:TAG]]"],
        examples: &[
            "tar c -C rootfs . | gantry import -c 'CMD [\"sh\"]' - mine:1",
            "gantry import -m 'from backup' rootfs.tar.gz mine:2",
        ],
        arity: Between(1, 2),
        flags: &[&[
            flag("change", 'c', List, "Apply Dockerfile instruction to the created image"),
            flag("message", 'm', Text, "Set commit message for imported image"),
            long("platform", Text, "Set platform if server is multi-platform capable"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::archive::import(daemon, parsed)),
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
        name: "inspect",
        group: "",
        about: "Return low-level information on gantry objects",
        usage: &["[OPTIONS] NAME|ID [NAME|ID...]"],
        examples: &[
            "gantry inspect web",
            "gantry inspect -f '{{.State.Status}} {{.State.ExitCode}}' web",
            "gantry inspect --type image busybox",
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
        name: "image inspect",
        top: false,
        group: "image",
        names: &["inspect"],
        about: "Display detailed information on one or more images",
        usage: &["[OPTIONS] IMAGE [IMAGE...]"],
        examples: &["gantry image inspect -f '{{.Config.Cmd}}' busybox"],
        arity: AtLeast(1),
        flags: &[&[flag(
            "format",
            'f',
            Text,
            "Format output using a custom template: 'json', or a Go TEMPLATE",
        )]],
        run: |daemon, parsed| Box::pin(cmd::inspect::images(daemon, parsed)),
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
        name: "load",
        group: "image",
        names: &["load"],
        about: "Load an image from a tar archive or STDIN",
        usage: &["[OPTIONS]"],
        examples: &["gantry load -i busybox.tar", "xzcat busybox.tar.xz | gantry load -q"],
        flags: &[&[
            flag("input", 'i', Text, "Read from tar archive file, instead of STDIN"),
            flag("quiet", 'q', Bool(false), "Suppress the load output"),
            unbuilt("platform"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::archive::load(daemon, parsed)),
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
        name: "port",
        names: &["port"],
        about: "List port mappings or a specific mapping for the container",
        usage: &["CONTAINER [PRIVATE_PORT[/PROTO]]"],
        examples: &["gantry port web", "gantry port web 80/tcp"],
        arity: Between(1, 2),
        run: |daemon, parsed| Box::pin(cmd::simple::port(daemon, parsed)),
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
        name: "pull",
        group: "image",
        names: &["pull"],
        about: "Download an image from a registry",
        usage: &["[OPTIONS] NAME[:TAG|@DIGEST]"],
        examples: &[
            "gantry pull busybox",
            "gantry pull -q --platform linux/arm64 registry.example/app:1.2",
        ],
        arity: Exactly(1),
        flags: &[&[
            flag(
                "all-tags",
                'a',
                Bool(false),
                "Download all tagged images in the repository",
            ),
            long("platform", Text, "Set platform if server is multi-platform capable"),
            flag("quiet", 'q', Bool(false), "Suppress verbose output"),
            unbuilt_switch("disable-content-trust"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::pull::run(daemon, parsed)),
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
            unbuilt_switch("link").short('l'),
        ]],
        run: |daemon, parsed| Box::pin(cmd::simple::rm(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "rmi",
        group: "image",
        names: &["rm", "remove"],
        about: "Remove one or more images",
        usage: &["[OPTIONS] IMAGE [IMAGE...]"],
        examples: &["gantry rmi busybox", "gantry rmi -f $(gantry images -q)"],
        arity: AtLeast(1),
        flags: &[&[
            flag("force", 'f', Bool(false), "Force removal of the image"),
            long("no-prune", Bool(false), "Do not delete untagged parents"),
            unbuilt("platform"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::images::remove(daemon, parsed)),
        ..BASE
    },
    Verb {
        name: "run",
        names: &["run"],
        about: "Create and run a new container from an image",
        more: "Without --network the container has no network (none): bridge networks are not built yet.",
        usage: &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
        examples: &[
            "gantry run --rm busybox echo hi",
            "gantry run -it --rm -v /srv:/srv:ro busybox sh",
            "gantry run -d --name web --network host --memory 64m --cpus 0.5 busybox httpd -f",
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
        name: "save",
        group: "image",
        names: &["save"],
        about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
        usage: &["[OPTIONS] IMAGE [IMAGE...]"],
        examples: &[
            "gantry save -o busybox.tar busybox",
            "gantry save busybox | gzip > busybox.tar.gz",
        ],
        arity: AtLeast(1),
        flags: &[&[
            flag("output", 'o', Text, "Write to a file, instead of STDOUT"),
            unbuilt("platform"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::archive::save(daemon, parsed)),
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
        name: "tag",
        group: "image",
        names: &["tag"],
        about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        usage: &["SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"],
        examples: &["gantry tag busybox mine:1"],
        arity: Exactly(2),
        run: |daemon, parsed| Box::pin(cmd::images::tag(daemon, parsed)),
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
    Verb {
        name: "wait",
        names: &["wait"],
        about: "Block until one or more containers stop, then print their exit codes",
        usage: &["CONTAINER [CONTAINER...]"],
        examples: &["gantry wait job"],
        arity: AtLeast(1),
        run: |daemon, parsed| Box::pin(cmd::simple::wait(daemon, parsed)),
        ..BASE
    },
];
