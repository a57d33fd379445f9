//! Archives: images as one tar, in and out.
//!
//! In: a docker-archive (any age with a `manifest.json`) or an OCI layout, compressed or not, streamed: every member goes
//! straight into the store, and only then is it asked what the archive says they are. Out: both forms at once.

mod docker;
mod export;
mod import;
mod index;
mod load;
mod oci;
mod pipe;
mod save;
mod scan;

pub(crate) use docker::put_manifest;
pub use export::{ExportItem, ExportOptions};
pub use import::ImportOptions;
pub use index::{Archive, ArchiveOptions};
pub use load::{LoadOptions, LoadedImage};
pub use save::SaveItem;

#[cfg(test)]
mod tests;
