//! Commands of images.

use super::{BASE, FILTER, FORMAT, NO_TRUNC};
use crate::cli::flag::Takes::{Bool, List, Text};
use crate::cli::flag::{flag, long, unbuilt, unbuilt_switch};
use crate::cli::verb::Arity::{AtLeast, AtMost, Between, Exactly};
use crate::cli::verb::Verb;
use crate::cmd;

pub(super) const VERBS: &[Verb] = &[
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
];
