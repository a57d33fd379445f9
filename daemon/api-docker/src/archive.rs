//! `/containers/{name}/archive`: files in and out of a container.

use crate::answer::{self, Answer, Body, Failure};
use crate::call::{Call, UNHEARD};
use crate::go_json;
use crate::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_engine::{CopyTo, Owners, PathStat};
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

/// Chunks that wait for the disk.
const CHUNKS: usize = 8;

const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

fn path(call: &Call) -> Result<&str, Failure> {
    match call.query.text("path") {
        "" => Err(Failure::bad("bad parameter: 'path' cannot be empty")),
        path if path.contains('\0') => Err(Failure::bad("bad parameter: 'path' contains a zero byte")),
        path => Ok(path),
    }
}

pub async fn stat(call: Call) -> Answer {
    let stat = call.engine().stat_path(call.name(), path(&call)?).await?;
    let mut response = answer::bare(StatusCode::OK);
    put_stat(&mut response, &stat);
    Ok(response)
}

pub async fn get(call: Call) -> Answer {
    let (stat, tar) = call.engine().copy_from(call.name(), path(&call)?, false).await?;
    let mut response = answer::tar(tar).await?;
    put_stat(&mut response, &stat);
    Ok(response)
}

pub async fn put(call: Call) -> Answer {
    let path = path(&call)?.to_owned();
    let name = call.name().to_owned();
    let options = CopyTo {
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        owners: match call.query.flag("copyUIDGID") {
            true => Owners::Container,
            false => Owners::Archive,
        },
    };
    let engine = call.engine().clone();
    let mut chunks = call.chunks();
    let (sender, tar) = mpsc::channel(CHUNKS);
    // A client that breaks off ends the tar early, which the extraction notices.
    let feeding = tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if sender.send(chunk?).await.is_err() {
                // Nobody looks at it any more; but a client that is still sending does not hear why.
                let rest = async { while chunks.recv().await.is_some() {} };
                let _ = tokio::time::timeout(UNHEARD, rest).await;
                break;
            }
        }
        Ok::<(), gantry_core::Error>(())
    });
    let written = engine.copy_to(&name, &path, options, tar).await;
    if let Ok(Err(broken)) = feeding.await {
        return Err(broken.into());
    }
    written?;
    answer::done()
}

#[derive(Serialize)]
struct Stat<'a> {
    name: &'a str,
    size: i64,
    mode: u32,
    mtime: String,
    #[serde(rename = "linkTarget")]
    link_target: &'a str,
}

fn put_stat(response: &mut Response<Body>, stat: &PathStat) {
    let shown = Stat {
        name: &stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: time::nano(stat.modified_at),
        link_target: &stat.link_target,
    };
    let text = STANDARD.encode(go_json::value_bytes(&shown));
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(STAT, value);
    }
}

/// A file's mode as Go's `os.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go);
    special.fold(kind | mode & 0o777, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_go_has_them() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020_600), 1 << 26 | 1 << 21 | 0o600);
    }
}
