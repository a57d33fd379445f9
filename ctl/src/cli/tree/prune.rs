//! Commands that clean up.

use super::BASE;
use crate::cli::flag::Takes::{Bool, Filter};
use crate::cli::flag::{Flag, flag, long};
use crate::cli::verb::Verb;
use crate::cmd;

const PRUNE: Verb = Verb {
    top: false,
    names: &["prune"],
    usage: &["[OPTIONS]"],
    ..BASE
};
const SIEVE: Flag = long("filter", Filter, "Provide filter values (e.g. \"until=<timestamp>\")");
const FORCE: Flag = flag("force", 'f', Bool(false), "Do not prompt for confirmation");

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "container prune",
        group: "container",
        about: "Remove all stopped containers",
        examples: &["gantry container prune -f --filter until=24h"],
        flags: &[&[SIEVE, FORCE]],
        run: |daemon, parsed| Box::pin(cmd::prune::containers(daemon, parsed)),
        ..PRUNE
    },
    Verb {
        name: "image prune",
        group: "image",
        about: "Remove unused images",
        examples: &["gantry image prune -f", "gantry image prune -af --filter until=24h"],
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Remove all unused images, not just dangling ones",
            ),
            SIEVE,
            FORCE,
        ]],
        run: |daemon, parsed| Box::pin(cmd::prune::images(daemon, parsed)),
        ..PRUNE
    },
    Verb {
        name: "system prune",
        group: "system",
        about: "Remove unused data",
        examples: &["gantry system prune -f", "gantry system prune -af --volumes"],
        flags: &[&[
            flag(
                "all",
                'a',
                Bool(false),
                "Remove all unused images not just dangling ones",
            ),
            SIEVE,
            FORCE,
            long("volumes", Bool(false), "Prune anonymous volumes"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::prune::system(daemon, parsed)),
        ..PRUNE
    },
];
