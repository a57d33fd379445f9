//! `--hook-spec`: a file of OCI hooks that run with a container.
//!
//! The file is JSON `{prestart[], poststart[], poststop[]}` (the other OCI kinds are taken too); an entry is
//! `{path, args, env, timeout}`. OCI lets `args` and `env` be left out; openEuler's docker, whose flag this is, demands both
//! in its manual, and so do we: a file that works here works there. A hook is a program of the administrator's: it lies
//! below `<data-root>/hooks`, belongs to root and nobody else may write it. Files are looked at through [`HookFiles`], so
//! that the rules are pure.

use crate::{Error, Result};
use oci_spec::runtime::{Hook, Hooks};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Largest spec file.
pub const MAX_SPEC: u64 = 10 * 1024 * 1024;
/// Longest time a hook may take, and the time it has when it does not say; seconds.
pub const MAX_TIMEOUT: i64 = 120;

/// A spec file as found.
#[derive(Debug, Clone)]
pub struct SpecFile {
    pub is_file: bool,
    pub size: u64,
    /// Read only if it is a file of at most [`MAX_SPEC`] bytes; else empty.
    pub text: String,
}

/// A hook's file, its links followed.
#[derive(Debug, Clone)]
pub struct ResolvedFile {
    pub canonical: PathBuf,
    pub is_file: bool,
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Looks at files for the rules.
pub trait HookFiles {
    fn spec_file(&self, path: &Path) -> Result<SpecFile>;
    fn resolve(&self, path: &Path) -> Result<ResolvedFile>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    timeout: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct File {
    prestart: Vec<Entry>,
    create_runtime: Vec<Entry>,
    create_container: Vec<Entry>,
    start_container: Vec<Entry>,
    poststart: Vec<Entry>,
    poststop: Vec<Entry>,
}

/// Reads and checks the spec file at `path`; `hooks_dir` is `<data-root>/hooks`, its links followed.
pub fn load(path: &str, hooks_dir: &Path, files: &impl HookFiles) -> Result<Hooks> {
    let invalid = |why: &str| Err(Error::invalid(format!("hook spec {path}: {why}")));
    if !path.starts_with('/') {
        return invalid("the path must be absolute");
    }
    let file = files
        .spec_file(Path::new(path))
        .map_err(|error| error.context(format!("hook spec {path}")))?;
    if !file.is_file {
        return invalid("not a regular file");
    }
    if file.size > MAX_SPEC {
        return invalid("larger than 10 MB");
    }
    parse(&file.text, hooks_dir, files).map_err(|error| error.context(format!("hook spec {path}")))
}

/// The hooks of a spec file's text.
pub fn parse(text: &str, hooks_dir: &Path, files: &impl HookFiles) -> Result<Hooks> {
    let file: File = serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    let list = |kind: &str, entries: Vec<Entry>| -> Result<Option<Vec<Hook>>> {
        let checked: Result<Vec<Hook>> = entries
            .into_iter()
            .enumerate()
            .map(|(place, entry)| {
                hook(entry, hooks_dir, files).map_err(|error| error.context(format!("{kind}[{place}]")))
            })
            .collect();
        Ok(Some(checked?).filter(|hooks| !hooks.is_empty()))
    };
    let mut hooks = Hooks::default();
    set_prestart(&mut hooks, list("prestart", file.prestart)?);
    hooks.set_create_runtime(list("createRuntime", file.create_runtime)?);
    hooks.set_create_container(list("createContainer", file.create_container)?);
    hooks.set_start_container(list("startContainer", file.start_container)?);
    hooks.set_poststart(list("poststart", file.poststart)?);
    hooks.set_poststop(list("poststop", file.poststop)?);
    Ok(hooks)
}

fn hook(entry: Entry, hooks_dir: &Path, files: &impl HookFiles) -> Result<Hook> {
    let invalid = |why: String| Err(Error::invalid(format!("hook {}: {why}", entry.path)));
    if !entry.path.starts_with('/') {
        return invalid("the path must be absolute".to_owned());
    }
    for (field, given) in [("args", &entry.args), ("env", &entry.env)] {
        if given.is_none() {
            return invalid(format!(
                "missing field `{field}`: it is mandatory, [] says that there are none"
            ));
        }
    }
    if let Some(timeout) = entry.timeout.filter(|timeout| !(1..=MAX_TIMEOUT).contains(timeout)) {
        return invalid(format!("timeout {timeout} is not from 1 to {MAX_TIMEOUT} seconds"));
    }
    let file = files
        .resolve(Path::new(&entry.path))
        .map_err(|error| error.context(format!("hook {}", entry.path)))?;
    if !file.canonical.starts_with(hooks_dir) {
        return invalid(format!("it lies outside {}", hooks_dir.display()));
    }
    if !file.is_file {
        return invalid("not a regular file".to_owned());
    }
    if file.mode & 0o111 == 0 {
        return invalid("not executable".to_owned());
    }
    if file.uid != 0 {
        return invalid(format!("it belongs to uid {} and not to root", file.uid));
    }
    if file.mode & 0o022 != 0 {
        return invalid(format!(
            "others than root may write it (mode {:04o})",
            file.mode & 0o7777
        ));
    }
    let mut hook = Hook::default();
    hook.set_path(file.canonical);
    hook.set_args(entry.args);
    hook.set_env(entry.env);
    hook.set_timeout(Some(entry.timeout.unwrap_or(MAX_TIMEOUT)));
    Ok(hook)
}

/// The daemon's hooks, then the container's.
pub fn merge(daemon: Option<&Hooks>, container: Option<&Hooks>) -> Option<Hooks> {
    let joined = |pick: fn(&Hooks) -> &Option<Vec<Hook>>| {
        let all: Vec<Hook> = [daemon, container]
            .into_iter()
            .flatten()
            .flat_map(|hooks| pick(hooks).iter().flatten())
            .cloned()
            .collect();
        Some(all).filter(|all| !all.is_empty())
    };
    let mut hooks = Hooks::default();
    set_prestart(&mut hooks, joined(prestart));
    hooks.set_create_runtime(joined(Hooks::create_runtime));
    hooks.set_create_container(joined(Hooks::create_container));
    hooks.set_start_container(joined(Hooks::start_container));
    hooks.set_poststart(joined(Hooks::poststart));
    hooks.set_poststop(joined(Hooks::poststop));
    Some(hooks).filter(|hooks| *hooks != Hooks::default())
}

/// OCI calls `prestart` deprecated.
#[allow(deprecated, reason = "the word of every hook file there is")]
fn prestart(hooks: &Hooks) -> &Option<Vec<Hook>> {
    hooks.prestart()
}

#[allow(deprecated, reason = "the word of every hook file there is")]
fn set_prestart(hooks: &mut Hooks, list: Option<Vec<Hook>>) {
    hooks.set_prestart(list);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file lies where it is named, unless listed otherwise.
    struct Fake(Vec<(&'static str, ResolvedFile)>);

    fn good(path: &str) -> ResolvedFile {
        ResolvedFile {
            canonical: path.into(),
            is_file: true,
            uid: 0,
            mode: 0o755,
        }
    }

    impl HookFiles for Fake {
        fn spec_file(&self, _: &Path) -> Result<SpecFile> {
            Ok(SpecFile {
                is_file: true,
                size: MAX_SPEC + 1,
                text: String::new(),
            })
        }

        fn resolve(&self, path: &Path) -> Result<ResolvedFile> {
            let path = path.to_str().unwrap();
            if path.ends_with("missing") {
                return Err(Error::not_found("no such file or directory"));
            }
            Ok(self
                .0
                .iter()
                .find(|(name, _)| *name == path)
                .map_or_else(|| good(path), |(_, file)| file.clone()))
        }
    }

    fn run(text: &str) -> Result<Hooks> {
        let at = |path: &str| ResolvedFile {
            canonical: path.into(),
            ..good(path)
        };
        let files = Fake(vec![
            ("/d/hooks/link", at("/etc/evil")),
            (
                "/d/hooks/users",
                ResolvedFile {
                    uid: 1000,
                    ..good("/d/hooks/users")
                },
            ),
            (
                "/d/hooks/group",
                ResolvedFile {
                    mode: 0o775,
                    ..good("/d/hooks/group")
                },
            ),
            (
                "/d/hooks/plain",
                ResolvedFile {
                    mode: 0o644,
                    ..good("/d/hooks/plain")
                },
            ),
            (
                "/d/hooks/dir",
                ResolvedFile {
                    is_file: false,
                    ..good("/d/hooks/dir")
                },
            ),
        ]);
        parse(text, Path::new("/d/hooks"), &files)
    }

    fn entry(path: &str) -> String {
        format!(r#"{{"prestart":[{{"path":"{path}","args":["x"],"env":[]}}]}}"#)
    }

    #[test]
    fn a_good_file() {
        let hooks = run(
            r#"{"prestart":[{"path":"/d/hooks/a","args":["a","1"],"env":["K=V"],"timeout":5}],
            "poststop":[{"path":"/d/hooks/b","args":["b"],"env":[]}]}"#,
        )
        .unwrap();
        let first = &prestart(&hooks).as_ref().unwrap()[0];
        assert_eq!(
            (first.path().to_str().unwrap(), first.timeout()),
            ("/d/hooks/a", Some(5))
        );
        assert_eq!(hooks.poststop().as_ref().unwrap()[0].timeout(), Some(MAX_TIMEOUT));
        assert!(hooks.poststart().is_none());
    }

    #[test]
    fn every_rule_is_named() {
        for (text, why) in [
            (entry("hooks/a"), "must be absolute"),
            (entry("/usr/bin/a"), "outside /d/hooks"),
            (entry("/d/hooksy/a"), "outside /d/hooks"),
            (entry("/d/hooks/link"), "outside /d/hooks"),
            (entry("/d/hooks/users"), "uid 1000"),
            (entry("/d/hooks/group"), "mode 0775"),
            (entry("/d/hooks/plain"), "not executable"),
            (entry("/d/hooks/dir"), "not a regular file"),
            (entry("/d/hooks/missing"), "no such file"),
            (
                r#"{"prestart":[{"path":"/d/hooks/a","args":[]}]}"#.into(),
                "prestart[0]: hook /d/hooks/a: missing field `env`: it is mandatory",
            ),
            (
                r#"{"prestart":[{"path":"/d/hooks/a","env":[]}]}"#.into(),
                "missing field `args`: it is mandatory",
            ),
            (
                r#"{"prestart":[{"path":"/d/hooks/a","args":[],"env":[],"timeout":0}]}"#.into(),
                "timeout 0",
            ),
            (
                r#"{"prestart":[{"path":"/d/hooks/a","args":[],"env":[],"timeout":121}]}"#.into(),
                "timeout 121",
            ),
            (
                r#"{"prestart":[{"path":"/d/hooks/a","args":[],"env":[],"x":1}]}"#.into(),
                "unknown field `x`",
            ),
            (r#"{"prestop":[]}"#.into(), "unknown field `prestop`"),
            ("{".into(), "EOF"),
        ] {
            let error = run(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_spec_file_itself() {
        let text = |path| {
            load(path, Path::new("/d/hooks"), &Fake(vec![]))
                .unwrap_err()
                .to_string()
        };
        assert!(text("rel.json").contains("must be absolute"));
        assert!(text("/big.json").contains("larger than 10 MB"));
    }

    #[test]
    fn the_daemons_come_first() {
        let (daemon, own) = (
            run(&entry("/d/hooks/daemon")).unwrap(),
            run(&entry("/d/hooks/own")).unwrap(),
        );
        let both = merge(Some(&daemon), Some(&own)).unwrap();
        let paths: Vec<_> = prestart(&both)
            .iter()
            .flatten()
            .map(|hook| hook.path().clone())
            .collect();
        assert_eq!(paths, [PathBuf::from("/d/hooks/daemon"), PathBuf::from("/d/hooks/own")]);
        assert_eq!(merge(None, None), None);
    }
}
