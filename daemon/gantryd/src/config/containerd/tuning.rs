//! What `config.toml` can say and `daemon.json` cannot.

use super::document::{Document, spell};
use super::reader::Reader;
use crate::error::Result;
use gantry_store::Sharing;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const BOLT: &str = "io.containerd.metadata.v1.bolt";
const GC: &str = "io.containerd.gc.v1.scheduler";
const OPT: &str = "io.containerd.internal.v1.opt";
/// The restart monitor, as version 3 calls it and as version 2 does.
const RESTART: [&str; 2] = [
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.internal.v1.restart",
];
const TASK: &str = "io.containerd.runtime.v2.task";
pub const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
/// Bytes of a gRPC message in either direction, when nothing is said; containerd's.
const MESSAGE: usize = 16 << 20;
/// Every daemon answers with more than this.
const LEAST_MESSAGE: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Where shims tell what happens; beside the gRPC socket if not given.
    pub ttrpc: Option<PathBuf>,
    pub ttrpc_uid: Option<u32>,
    pub ttrpc_gid: Option<u32>,
    /// Bytes of the largest message that is taken, and that is sent.
    pub largest_in: usize,
    pub largest_out: usize,
    /// 0 = as the daemon was born.
    pub oom_score: i32,
    pub sharing: Sharing,
    /// From readiness to the first collection.
    pub first_collection: Duration,
    /// Of the tasks' plugin, as clients see it; empty = this machine's.
    pub platforms: Vec<String>,
    /// Directories of snapshotters, by name.
    pub roots: BTreeMap<String, PathBuf>,
    pub disabled: Vec<String>,
    pub required: Vec<String>,
    /// For a shim to answer when it is found again.
    pub shim_load: Option<Duration>,
    /// For clearing what a dead shim left.
    pub shim_cleanup: Option<Duration>,
    /// Where clients install programs and libraries.
    pub opt: Option<PathBuf>,
    /// The daemon's own, below every hierarchy with controllers.
    pub cgroup: Option<String>,
    /// How often is looked whether clients' tasks run as their labels say.
    pub tending: Duration,
    /// Where bundles of clients' tasks are, below the exec root; `None` = right in it.
    pub bundles: Option<&'static str>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            ttrpc: None,
            ttrpc_uid: None,
            ttrpc_gid: None,
            largest_in: MESSAGE,
            largest_out: MESSAGE,
            oom_score: 0,
            sharing: Sharing::Shared,
            first_collection: Duration::from_millis(100),
            platforms: Vec::new(),
            roots: BTreeMap::new(),
            disabled: Vec::new(),
            required: Vec::new(),
            shim_load: None,
            shim_cleanup: None,
            opt: None,
            cgroup: None,
            tending: Duration::from_secs(10),
            bundles: None,
        }
    }
}

impl Tuning {
    /// Whether a plugin was switched off.
    pub fn is_disabled(&self, kind: &str, id: &str) -> bool {
        let named = |uri: &String| uri.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) == Some(id);
        self.disabled.iter().any(named)
    }

    /// Whether tasks are kept running.
    pub fn tends(&self) -> bool {
        !RESTART.iter().any(|name| self.disabled.iter().any(|id| id == name))
    }

    pub(super) fn take(reader: &mut Reader) -> Result<Self> {
        let mut roots = BTreeMap::new();
        for name in ["native", "overlayfs"] {
            let plugin = format!("{SNAPSHOTTER}.{name}");
            if let Some(root) = reader.path(&["plugins", &plugin, "root_path"])? {
                roots.insert(name.to_owned(), root);
            }
        }
        let plain = Self::default();
        Ok(Self {
            ttrpc: reader.socket(&["ttrpc", "address"])?,
            ttrpc_uid: reader.whole(&["ttrpc", "uid"])?,
            ttrpc_gid: reader.whole(&["ttrpc", "gid"])?,
            largest_in: message(reader, "max_recv_message_size")?,
            largest_out: message(reader, "max_send_message_size")?,
            oom_score: reader.within(&["oom_score"], -1000..=1000)?.unwrap_or(0),
            sharing: sharing(reader)?,
            first_collection: reader
                .duration(&["plugins", GC, "startup_delay"])?
                .unwrap_or(plain.first_collection),
            platforms: platforms(reader)?,
            roots,
            disabled: plugins(reader, "disabled_plugins")?,
            required: plugins(reader, "required_plugins")?,
            shim_load: limit(reader, "io.containerd.timeout.shim.load")?,
            shim_cleanup: limit(reader, "io.containerd.timeout.shim.cleanup")?,
            opt: reader.path(&["plugins", OPT, "path"])?,
            cgroup: cgroup(reader)?,
            tending: tending(reader)?.unwrap_or(plain.tending),
            bundles: None,
        })
    }
}

/// In whichever name; zero is the default, as there.
fn tending(reader: &mut Reader) -> Result<Option<Duration>> {
    let mut found = None;
    for name in RESTART {
        let given = reader.duration(&["plugins", name, "interval"])?;
        found = found.or(given.filter(|every| !every.is_zero()));
    }
    Ok(found)
}

/// Of a part with two names, a file's is the one that stays.
pub fn one_name(table: &mut toml::Table) {
    if let Some(toml::Value::Table(plugins)) = table.get_mut("plugins")
        && plugins.contains_key(RESTART[0])
    {
        plugins.remove(RESTART[1]);
    }
}

fn cgroup(reader: &mut Reader) -> Result<Option<String>> {
    let keys = ["cgroup", "path"];
    let path = reader.text(&keys)?;
    match path {
        Some(path) if path.split('/').any(|part| matches!(part, "." | "..")) => {
            Err(reader.document.wrong(&keys, format!("{path:?} leads elsewhere")))
        }
        path => Ok(path),
    }
}

fn message(reader: &mut Reader, key: &str) -> Result<usize> {
    let keys = ["grpc", key];
    match reader.whole::<usize>(&keys)? {
        None | Some(0) => Ok(MESSAGE),
        Some(bytes) if bytes >= LEAST_MESSAGE => Ok(bytes),
        Some(bytes) => Err(reader.document.wrong(&keys, format!("{bytes} bytes hold no message"))),
    }
}

fn sharing(reader: &mut Reader) -> Result<Sharing> {
    let keys = ["plugins", BOLT, "content_sharing_policy"];
    match reader.text(&keys)?.as_deref() {
        None | Some("shared") => Ok(Sharing::Shared),
        Some("isolated") => Ok(Sharing::Isolated),
        Some(other) => Err(reader
            .document
            .wrong(&keys, format!("{other:?} is no policy; shared and isolated are"))),
    }
}

fn limit(reader: &mut Reader, key: &str) -> Result<Option<Duration>> {
    let given = reader.duration(&["timeouts", key])?;
    Ok(given.filter(|limit| !limit.is_zero()))
}

fn platforms(reader: &mut Reader) -> Result<Vec<String>> {
    let keys = ["plugins", TASK, "platforms"];
    let list = reader.texts(&keys)?;
    let is_whole = |text: &String| {
        let parts: Vec<&str> = text.split('/').collect();
        (2..=3).contains(&parts.len()) && parts.iter().all(|part| !part.is_empty())
    };
    match list.iter().find(|text| !is_whole(text)) {
        None => Ok(list),
        Some(text) => Err(reader
            .document
            .wrong(&keys, format!("{text:?} is no platform; one is linux/amd64"))),
    }
}

/// Full ids; what version 1 called `cri` is the one short name that files of today still have.
fn plugins(reader: &mut Reader, key: &str) -> Result<Vec<String>> {
    let list = reader.texts(&[key])?;
    list.into_iter()
        .map(|id| match id.as_str() {
            "cri" if key == "disabled_plugins" => Ok("io.containerd.grpc.v1.cri".to_owned()),
            full if full.starts_with("io.containerd.") => Ok(id),
            _ => Err(reader.document.wrong(
                &[key],
                format!("{id:?} is no full id of a plugin; one is io.containerd.grpc.v1.cri"),
            )),
        })
        .collect()
}

/// Sections of parts that gantry does not have: one word each, if there is something in them.
pub fn unbuilt_sections(document: &mut Document) -> Vec<String> {
    /// What they begin with, and what is to be said; nothing where the part's absence changes nothing for a client.
    const ABSENT: &[(&str, Option<&str>)] = &[
        (
            "io.containerd.grpc.v1.cri",
            Some("does nothing: the CRI service is not built yet"),
        ),
        (
            "io.containerd.cri.v1.",
            Some("does nothing: the CRI service is not built yet"),
        ),
        ("io.containerd.sandbox.controller.v1.podsandbox", None),
        ("io.containerd.snapshotter.v1.aufs", None),
        ("io.containerd.snapshotter.v1.blockfile", None),
        ("io.containerd.snapshotter.v1.btrfs", None),
        ("io.containerd.snapshotter.v1.devmapper", None),
        ("io.containerd.snapshotter.v1.erofs", None),
        ("io.containerd.snapshotter.v1.zfs", None),
        ("io.containerd.differ.v1.erofs", None),
        ("io.containerd.image-verifier.v1.bindir", None),
        ("io.containerd.internal.v1.tracing", None),
        ("io.containerd.nri.v1.nri", None),
        ("io.containerd.runtime.v1.linux", None),
        ("io.containerd.tracing.processor.v1.otlp", None),
        ("io.containerd.ttrpc.v1.otelttrpc", None),
    ];
    let mut said = Vec::new();
    let Some(toml::Value::Table(plugins)) = document.table.get_mut("plugins") else {
        return said;
    };
    let mut gone = Vec::new();
    plugins.retain(|id, _| {
        let found = ABSENT
            .iter()
            .find(|(known, _)| *id == **known || known.ends_with('.') && id.starts_with(*known));
        if let Some((_, word)) = found {
            gone.push((id.to_owned(), *word));
        }
        found.is_none()
    });
    for (id, word) in gone {
        if let Some(word) = word {
            said.push(document.remark(&["plugins".to_owned(), id], word));
        }
    }
    said
}

/// Programs that turn layers of other kinds into known ones are not run here; worth a word where the program is there.
pub fn stream_processors(document: &mut Document) -> Vec<String> {
    let Some(toml::Value::Table(all)) = document.table.remove("stream_processors") else {
        return Vec::new();
    };
    let program = |section: &toml::Value| section.get("path").and_then(toml::Value::as_str).map(str::to_owned);
    let present = all.iter().filter_map(|(name, section)| Some((name, program(section)?)));
    let present = present.filter(|(_, program)| is_installed(program));
    present
        .map(|(name, _)| {
            let keys = ["stream_processors".to_owned(), name.clone()];
            document.remark(&keys, "is not run: layers that need it are refused")
        })
        .collect()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match program.contains('/') {
        true => std::path::Path::new(program).is_file(),
        false => std::env::split_paths(&path).any(|dir| dir.join(program).is_file()),
    }
}

/// What nobody took: silent where it is what containerd has anyway.
pub fn left_over(document: &Document, known: &toml::Table) -> Vec<String> {
    let mut said = Vec::new();
    walk(&document.table, Some(known), &mut Vec::new(), &mut |keys, is_known| {
        let what = match is_known {
            true => "does nothing here with another value than containerd's own",
            false => "is not known here and does nothing",
        };
        said.push(document.remark(keys, what));
    });
    said
}

fn walk(
    table: &toml::Table,
    known: Option<&toml::Table>,
    above: &mut Vec<String>,
    say: &mut impl FnMut(&[String], bool),
) {
    for (name, value) in table {
        above.push(name.clone());
        let same = known.and_then(|known| known.get(name));
        match (value, same) {
            (toml::Value::Table(inner), same) => walk(inner, same.and_then(toml::Value::as_table), above, say),
            (value, Some(same)) if value == same => {}
            (_, same) => say(above, same.is_some() && spell(above) != "version"),
        }
        above.pop();
    }
}
