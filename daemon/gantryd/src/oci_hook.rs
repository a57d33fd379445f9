//! `oci-hook`: stands before the program of an OCI hook and fills in what its arguments and environment say of the container
//! (containerd's command of that name): `{{id}}`, `{{pid}}`, `{{bundle}}`, `{{rootfs}}`, `{{status}}`, `{{annotation "key"}}`.

use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of a state, and of a spec.
const LARGEST: u64 = 4 << 20;

/// What a runtime tells its hooks (OCI runtime spec, state).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    id: String,
    status: String,
    pid: i64,
    bundle: PathBuf,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    root: Root,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    path: PathBuf,
}

struct Told {
    state: State,
    rootfs: PathBuf,
}

/// Becomes the program; returns only what went wrong.
pub fn run(words: &[String]) -> Result<()> {
    let told = Told::read()?;
    let filled = |what: &str, text: &str| {
        told.fill(text).map_err(|reason| Error::Hook {
            what: what.to_owned(),
            reason,
        })
    };
    let words: Vec<String> = words.iter().map(|word| filled(word, word)).collect::<Result<_>>()?;
    let (program, rest) = words.split_first().ok_or_else(|| Error::Hook {
        what: "--".to_owned(),
        reason: "the program of the hook and its arguments are expected".to_owned(),
    })?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let value = match value.into_string() {
            Ok(text) => OsString::from(filled(&name.to_string_lossy(), &text)?),
            Err(bytes) => bytes,
        };
        environment.push((name, value));
    }
    let source = Command::new(program).args(rest).env_clear().envs(environment).exec();
    Err(Error::path("run", program)(source))
}

impl Told {
    fn read() -> Result<Self> {
        let wrong = |what: &str, reason: String| Error::Hook {
            what: what.to_owned(),
            reason,
        };
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(LARGEST).read_to_end(&mut bytes);
        read.map_err(|source| Error::System {
            deed: "read the state from standard input",
            source,
        })?;
        let state: State =
            serde_json::from_slice(&bytes).map_err(|error| wrong("the state on standard input", error.to_string()))?;
        let path = state.bundle.join("config.json");
        let bytes = std::fs::read(&path).map_err(Error::path("read", &path))?;
        let spec: Spec =
            serde_json::from_slice(&bytes).map_err(|error| wrong(&path.to_string_lossy(), error.to_string()))?;
        Ok(Self::new(state, &spec.root.path))
    }

    fn new(state: State, root: &Path) -> Self {
        // An absolute one stays as it is.
        let rootfs = state.bundle.join(root);
        Self { state, rootfs }
    }

    /// The text with what stands in double braces replaced, as Go's templates are. The error is the reason.
    fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, behind) = after.split_once("}}").ok_or("{{ is not closed")?;
            let (inner, left) = match inner.strip_prefix("- ") {
                Some(inner) => (inner, before.trim_end()),
                None => (inner, before),
            };
            let (inner, right) = match inner.strip_suffix(" -") {
                Some(inner) => (inner, behind.trim_start()),
                None => (inner, behind),
            };
            filled.push_str(left);
            filled.push_str(&self.value(inner.trim())?);
            rest = right;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, word: &str) -> Result<String, String> {
        let state = &self.state;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        if let Some(key) = word.strip_prefix("annotation").map(str::trim_start) {
            let quoted = |mark: char| key.strip_prefix(mark)?.strip_suffix(mark);
            let key = quoted('"').or_else(|| quoted('`'));
            let key = key.ok_or_else(|| format!("{word:?}: annotation \"KEY\" is expected"))?;
            return Ok(state.annotations.get(key).cloned().unwrap_or_default());
        }
        Ok(match word {
            "id" => state.id.clone(),
            "pid" => state.pid.to_string(),
            "bundle" => path(&state.bundle),
            "rootfs" => path(&self.rootfs),
            "status" => state.status.clone(),
            _ => {
                return Err(format!(
                    "{word:?} is not known; id, pid, bundle, rootfs, status and annotation \"KEY\" are"
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(root: &str) -> Told {
        let text = r#"{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":42,"bundle":"/b","annotations":{"a.b/c":"x y"}}"#;
        Told::new(serde_json::from_str(text).unwrap(), Path::new(root))
    }

    #[test]
    fn words_in_braces_are_filled_in() {
        let told = told("rootfs");
        for (text, filled) in [
            ("plain", "plain"),
            ("{{pid}}", "42"),
            ("--id={{ id }}/{{status}}", "--id=c1/creating"),
            ("{{bundle}}:{{rootfs}}", "/b:/b/rootfs"),
            ("<{{annotation \"a.b/c\"}}{{annotation `none`}}>", "<x y>"),
            ("a {{- pid -}} b", "a42b"),
            ("} }} {", "} }} {"),
        ] {
            assert_eq!(told.fill(text).unwrap(), filled, "{text}");
        }
        for text in ["{{pid", "{{name}}", "{{annotation}}", "{{annotation key}}", "{{}}"] {
            assert!(told.fill(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_absolute_root_is_taken_as_it_is() {
        assert_eq!(told("/r").fill("{{rootfs}}").unwrap(), "/r");
    }
}
