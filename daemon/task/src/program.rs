//! Which program a runtime's name means.

use crate::error::{Result, TaskError};
use crate::shims::Shims;
use crate::words::to_any;
use gantry_core::meta::Any;
use gantry_core::{Error, ErrorKind};
use gantry_proto_shim::protobuf::Message;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

const OURS: &str = "containerd-shim-gantry-v1";

/// Finds our own shim: beside this program, else on PATH.
pub fn find_shim() -> Result<PathBuf> {
    find(OURS)
}

/// The shim program of a runtime: `io.containerd.runc.v2` is `containerd-shim-runc-v2`, beside this program or on PATH (a
/// name of two parts or more, of which the last two count); an absolute path is itself. What fails is said in containerd's
/// words, which its clients show.
pub fn shim_program(runtime: &str) -> Result<PathBuf, Error> {
    let unknown =
        |message: String| Error::new(ErrorKind::Unknown, format!("failed to resolve runtime path: {message}"));
    if runtime.starts_with('/') {
        let path = PathBuf::from(runtime);
        return match path.metadata() {
            Ok(_) if is_program(&path) => Ok(path),
            Ok(_) => Err(unknown(format!("invalid custom binary path: {runtime} is no program"))),
            Err(error) => Err(unknown(format!(
                "invalid custom binary path: stat {runtime}: {}",
                words(&error)
            ))),
        };
    }
    let mut parts = runtime.rsplit('.');
    match (parts.next(), parts.next()) {
        (Some(version), Some(name)) if is_word(version) && is_word(name) => {
            let program = format!("containerd-shim-{name}-{version}");
            find(&program).map_err(|_| {
                unknown(format!(
                    "runtime \"{runtime}\" binary not installed \"{program}\": file does not exist"
                ))
            })
        }
        _ => Err(unknown(format!(
            "invalid runtime name {runtime}, correct runtime name should be either format like `io.containerd.runc.v1` \
             or a full path to the binary"
        ))),
    }
}

impl Shims {
    /// What a shim's program prints on `-info`: a `containerd.types.RuntimeInfo`. `options` go to its stdin. One that cannot be
    /// run or does not know the flag is `Unknown` with what it said, as containerd answers; one that does not end is killed.
    pub async fn runtime_info(&self, runtime: &str, options: Option<Any>) -> Result<Vec<u8>, Error> {
        let options = options.map(|any| to_any(any).write_to_bytes().unwrap_or_default());
        let program = shim_program(runtime)?;
        let failed = |what: String| {
            let text = format!("failed to run [{} -info]: {what}", program.display());
            Error::new(ErrorKind::Unknown, text)
        };
        let mut command = tokio::process::Command::new(&program);
        command.arg("-info").stdin(Stdio::piped()).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(words(&error)))?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may not read at all, and then must not be waited for.
            tokio::spawn(async move { stdin.write_all(&options.unwrap_or_default()).await });
        }
        let limit = self.config().deadlines.spawn;
        let output = tokio::time::timeout(limit, child.wait_with_output()).await;
        let output = output
            .map_err(|_| failed(format!("it did not end within {} s", limit.as_secs())))?
            .map_err(|error| failed(words(&error)))?;
        match output.status.code() {
            Some(0) => Ok(output.stdout),
            code => {
                let status = code.map_or_else(|| output.status.to_string(), |code| format!("exit status {code}"));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(failed(format!("{status} (stderr: {said:?})")))
            }
        }
    }
}

/// The error as C's library says it.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    plain.to_lowercase()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

fn find(program: &str) -> Result<PathBuf> {
    let beside = env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join(program)));
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates = beside
        .into_iter()
        .chain(env::split_paths(&path).map(|dir| dir.join(program)));
    candidates
        .into_iter()
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| TaskError::FindShim {
            program: program.to_owned(),
        })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert_eq!(shim_program("/bin/sh").unwrap(), Path::new("/bin/sh"));
        for (name, said) in [
            (
                "/nosuch",
                "invalid custom binary path: stat /nosuch: no such file or directory",
            ),
            ("/bin", "invalid custom binary path: /bin is no program"),
            (
                "io.containerd.nosuch.v9",
                "runtime \"io.containerd.nosuch.v9\" binary not installed \"containerd-shim-nosuch-v9\": file does not exist",
            ),
            ("runc", "invalid runtime name runc, "),
            ("io.containerd.../../bin/sh", "invalid runtime name "),
            ("", "invalid runtime name , "),
        ] {
            let error = shim_program(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unknown);
            let said = format!("failed to resolve runtime path: {said}");
            assert!(error.message().starts_with(&said), "{error}");
        }
    }
}
