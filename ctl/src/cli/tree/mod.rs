//! All commands and their flags.

mod container;
mod image;
mod lifecycle;
mod look;
mod network;
mod prune;
mod system;
mod volume;

use crate::cli::flag::Takes::{Bool, Filter, Int, Text};
use crate::cli::flag::{Flag, flag, long, unbuilt};
use crate::cli::verb::{Arity, Verb};

/// Management commands.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("network", "Manage networks"),
    ("system", "Manage gantry"),
    ("volume", "Manage volumes"),
];

/// Flags before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    flag(
        "debug",
        'D',
        Bool(false),
        "Tell on stderr what is asked of the daemon (as --log-level debug)",
    ),
    flag("host", 'H', Text, "Daemon socket to connect to (GANTRY_HOST)").default("\"unix:///run/gantry/gantry.sock\""),
    flag(
        "log-level",
        'l',
        Text,
        "Set the logging level (debug, info, warn, error, fatal, trace)",
    )
    .default("\"info\""),
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

const BASE: Verb = Verb {
    name: "",
    top: true,
    group: "container",
    names: &[],
    about: "",
    more: "",
    usage: &[],
    examples: &[],
    arity: Arity::None,
    flags_first: false,
    flags: &[],
    run: |_, _| Box::pin(async { Ok(0) }),
};

/// Every command.
pub(crate) fn verbs() -> impl Iterator<Item = &'static Verb> {
    [
        lifecycle::VERBS,
        look::VERBS,
        image::VERBS,
        network::VERBS,
        prune::VERBS,
        system::VERBS,
        volume::VERBS,
    ]
    .into_iter()
    .flatten()
}
