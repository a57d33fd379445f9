//! Another shim behind this one: it makes the container and has its processes, and this one has all that it lacks (log, attach, exit
//! records, events that wait for a daemon). Whoever drives this shim sees no difference.
//!
//! The one flow: [`birth`] runs the program's `start` and connects; [`life`] and [`verbs`] pass requests on, each with a deadline ([`call`]); bytes come and
//! go through named pipes ([`pipes`]), the one kind of stdio that every shim has for input as well as output, and in which output
//! stays whole should either side be slow. [`news`] takes what it tells of memory kills. Ends are the other shim's word, or, when it
//! died or hangs, [`death`]'s.

mod birth;
mod call;
mod death;
pub mod life;
pub mod news;
mod pipes;
pub mod verbs;

pub use death::unmake;

use crate::shim::Config;
use gantry_proto_shim::{ExtrasClient, TaskClient, any, extras::CreateOptions, protobuf::well_known_types::any::Any};
use gantry_shim_protocol::bundle;
use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;

/// The shim that stands behind this one, for one container.
pub struct Foreign {
    pub program: PathBuf,
    /// The container's id.
    id: String,
    namespace: String,
    options: Option<Any>,
    /// Its directory: its bundle and the pipes are below.
    home: PathBuf,
    link: OnceLock<Link>,
    /// It is not there any more.
    dead: watch::Sender<bool>,
    /// It was sent away: that it goes is no news.
    dismissed: AtomicBool,
    /// It told of a memory kill.
    oom: AtomicBool,
}

/// Connected, and who is there.
struct Link {
    address: String,
    task: TaskClient,
    extras: ExtrasClient,
    /// 0 if it does not say.
    pid: u32,
}

impl Foreign {
    /// The shim that the options name, if they name one.
    pub fn asked(config: &Config, options: &CreateOptions, id: &str, bundle_dir: &Path) -> Option<Self> {
        if options.foreign_shim.is_empty() {
            return None;
        }
        let kind = &options.foreign_options_type;
        Some(Self {
            program: PathBuf::from(&options.foreign_shim),
            id: id.to_owned(),
            namespace: config.namespace.clone(),
            options: (!kind.is_empty()).then(|| any(kind, options.foreign_options.clone())),
            home: bundle_dir.join(bundle::FOREIGN),
            link: OnceLock::new(),
            dead: watch::Sender::new(false),
            dismissed: AtomicBool::new(false),
            oom: AtomicBool::new(false),
        })
    }

    /// Its bundle. The last part is the id: shims look for it by that.
    fn bundle(&self) -> PathBuf {
        self.home.join(&self.id)
    }

    /// Whether it told of a memory kill since the container began.
    pub fn told_oom(&self) -> bool {
        self.oom.load(Ordering::Relaxed)
    }

    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Foreign({})", self.program.display())
    }
}
