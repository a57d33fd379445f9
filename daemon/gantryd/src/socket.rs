//! The gRPC socket and the Docker API's: made under another name and moved into place, so that it never answers with the wrong mode, and so that
//! a stale one is replaced at one stroke.

use crate::config::Settings;
use crate::error::{Error, Result};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest path of a unix socket (unix(7): 108 bytes with the terminating zero).
const LIMIT: usize = 107;
const SUFFIX: &str = ".new";

/// A socket that is in place, told from any other that may come to stand there.
pub struct Place {
    path: PathBuf,
    mark: (u64, u64),
}

impl Place {
    /// Takes the name away, if it still is ours.
    pub fn remove(self) {
        if fs::metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.mark) {
            // One that stays is stale: the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds the socket of the settings.
pub fn bind(settings: &Settings) -> Result<(UnixListener, Place)> {
    bind_at(&settings.address, settings.address_uid, settings.address_gid)
}

/// Binds the socket on which shims tell what happens: beside the other, where containerd's shims look for it, unless the
/// settings say another place.
pub fn bind_for_shims(settings: &Settings) -> Result<(UnixListener, Place)> {
    let tuning = &settings.tuning;
    let uid = tuning.ttrpc_uid.unwrap_or(settings.address_uid);
    let gid = tuning.ttrpc_gid.unwrap_or(settings.address_gid);
    bind_at(&for_shims(settings), uid, gid)
}

/// Where shims tell what happens.
pub fn for_shims(settings: &Settings) -> PathBuf {
    let given = settings.tuning.ttrpc.clone();
    given.unwrap_or_else(|| {
        let mut path = settings.address.as_os_str().to_owned();
        path.push(".ttrpc");
        PathBuf::from(path)
    })
}

/// Binds a socket that this user and group may use.
pub fn bind_at(path: &Path, uid: u32, gid: u32) -> Result<(UnixListener, Place)> {
    let fresh = beside(path);
    if fresh.as_os_str().as_bytes().len() > LIMIT {
        return Err(Error::SocketLong {
            path: path.to_owned(),
            limit: LIMIT - SUFFIX.len(),
        });
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::path("make the directory of the socket", parent))?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(Error::SocketTaken { path: path.to_owned() });
    }
    // Left by a daemon that was killed between the two names.
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(Error::path("bind the socket", path))?;
    let ready = fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))
        .and_then(|()| std::os::unix::fs::chown(&fresh, Some(uid), Some(gid)))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| fs::metadata(&fresh))
        .and_then(|meta| fs::rename(&fresh, path).map(|()| (meta.dev(), meta.ino())));
    let mark = ready.map_err(Error::path("put the socket into place at", path))?;
    Ok((
        listener,
        Place {
            path: path.to_owned(),
            mark,
        },
    ))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}
