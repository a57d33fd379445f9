//! `--hook-spec`: the daemon's hooks, then the container's.

use crate::context::Context;
use gantry_core::container::ContainerRecord;
use gantry_core::error::io_kind;
use gantry_core::spec::hooks::{HookFiles, MAX_SPEC, ResolvedFile, SpecFile, load, merge};
use gantry_core::{Error, Result};
use oci_spec::runtime::Hooks;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

pub(super) fn of(context: &Context, record: &ContainerRecord) -> Result<Option<Hooks>> {
    let dir = context.config.data_root.join("hooks");
    let dir = dir.canonicalize().unwrap_or(dir);
    // A hook that is not there is the caller's mistake, not a missing image or container.
    let read = |path: &str| load(path, &dir, &Files).map_err(|error| Error::invalid(error.message().to_owned()));
    let daemon = context
        .config
        .hook_spec
        .as_ref()
        .map(|path| read(&path.to_string_lossy()))
        .transpose()?;
    let own = Some(record.host.hook_spec.as_str())
        .filter(|path| !path.is_empty())
        .map(read)
        .transpose()?;
    Ok(merge(daemon.as_ref(), own.as_ref()))
}

struct Files;

impl HookFiles for Files {
    fn spec_file(&self, path: &Path) -> Result<SpecFile> {
        let failed = |error: std::io::Error| Error::new(io_kind(&error), error.to_string());
        // Not blocking: a fifo would keep us waiting for a writer.
        let file = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let mut text = String::new();
        if meta.is_file() && meta.len() <= MAX_SPEC {
            file.take(MAX_SPEC).read_to_string(&mut text).map_err(failed)?;
        }
        Ok(SpecFile {
            is_file: meta.is_file(),
            size: meta.len(),
            text,
        })
    }

    fn resolve(&self, path: &Path) -> Result<ResolvedFile> {
        let failed = |error: std::io::Error| Error::new(io_kind(&error), format!("hook {}: {error}", path.display()));
        let canonical = fs::canonicalize(path).map_err(failed)?;
        let meta = fs::metadata(&canonical).map_err(failed)?;
        Ok(ResolvedFile {
            canonical,
            is_file: meta.is_file(),
            uid: meta.uid(),
            mode: meta.mode() & 0o7777,
        })
    }
}
