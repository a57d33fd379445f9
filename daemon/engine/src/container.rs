//! Use cases on containers, a verb a file.

mod changes;
mod copy;
mod create;
mod inspect;
mod kill;
mod list;
mod logs;
pub(crate) mod make;
mod networking;
mod pause;
mod remove;
mod rename;
mod restart;
pub(crate) mod rootfs;
mod runtime;
pub(crate) mod start;
mod stats;
mod stop;
pub(crate) mod teardown;
mod top;
mod wait;

pub use changes::{Change, ChangeKind};
pub use copy::{CopyTo, PathStat, TarStream};
pub use create::{CreateContainer, Created};
pub use inspect::Inspected;
pub use list::{ListContainers, Summary};
pub use logs::{LogLine, LogQuery};
pub use stats::Sample;
pub use stop::StopOptions;
pub use wait::{WaitFor, Waited};
