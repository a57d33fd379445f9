//! Use cases on containers, a verb a file.

mod changes;
mod commit;
mod copy;
mod create;
mod inspect;
mod kill;
mod list;
mod logs;
pub(crate) mod make;
mod networking;
mod pause;
mod prune;
mod remove;
mod rename;
mod restart;
pub(crate) mod rootfs;
pub(crate) mod runtime;
pub(crate) mod start;
mod stats;
pub(crate) mod stop;
pub(crate) mod teardown;
mod top;
mod update;
mod wait;

pub use changes::{Change, ChangeKind};
pub use commit::CommitContainer;
pub use copy::{CopyTo, PathStat, TarStream};
pub use create::{CreateContainer, Created};
pub use inspect::Inspected;
pub use list::{ListContainers, Summary};
pub use logs::{LogLine, LogQuery};
pub use remove::RemoveOptions;
pub use stats::Sample;
pub use stop::StopOptions;
pub use update::UpdateContainer;
pub use wait::{WaitFor, Waited};
