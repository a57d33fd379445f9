//! What is to be mounted in a container: from what was asked for, the image's volumes and other containers', as Docker reads it.

use crate::context::Context;
use gantry_core::container::{BindMount, ContainerRecord};
use gantry_core::volume::{MountKind, MountPoint, MountRequest, NewVolume, check_name};
use gantry_core::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// A container's mounts, and the volumes they need, whether those are there or not.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub mounts: Vec<MountPoint>,
    pub wanted: Vec<NewVolume>,
}

/// Checks everything that is asked for. Nothing is made here.
pub(crate) fn plan(context: &Context, record: &ContainerRecord) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut inherited = BTreeMap::new();
    for text in &record.host.volumes_from {
        inherit(context, text, &mut inherited)?;
    }
    let mut own: Vec<MountPoint> = Vec::new();
    for bind in &record.host.binds {
        own.push(plan.bind(record, bind)?);
    }
    for request in &record.host.mounts {
        own.push(plan.request(record, request)?);
    }
    let host = &record.host;
    let propagations = host.binds.iter().map(|bind| &bind.propagation);
    let propagations = propagations.chain(host.mounts.iter().map(|mount| &mount.bind.propagation));
    for (point, asked) in own.iter_mut().zip(propagations) {
        with_our_root(&context.config.data_root, point, asked)?;
    }
    let tmpfs: Vec<String> = record.host.tmpfs.keys().map(|target| clean(target)).collect();
    for (at, point) in own.iter().enumerate() {
        let twice = own[..at].iter().any(|other| other.target == point.target) || tmpfs.contains(&point.target);
        if twice {
            return Err(Error::invalid(format!("Duplicate mount point: {}", point.target)));
        }
    }
    let taken =
        |target: &str| own.iter().any(|point| point.target == target) || tmpfs.iter().any(|path| path == target);
    inherited.retain(|target: &String, _| !taken(target));
    let mut anonymous = Vec::new();
    for path in &record.config.volumes {
        let target = target_of("volume", path)?;
        if !taken(&target) && !inherited.contains_key(&target) {
            anonymous.push(target);
        }
    }
    plan.mounts.extend(inherited.into_values());
    plan.mounts.extend(own);
    for target in anonymous {
        let name = plan.want(NewVolume {
            driver: record.host.volume_driver.clone(),
            ..NewVolume::default()
        });
        plan.mounts.push(MountPoint {
            kind: MountKind::Volume,
            name,
            target,
            anonymous: true,
            ..MountPoint::default()
        });
    }
    Ok(plan)
}

/// A bind that has our own directory in it, or is in it, hears what is unmounted there, or it would keep every mount that we have.
fn with_our_root(root: &Path, point: &mut MountPoint, asked: &str) -> Result<()> {
    let source = Path::new(&point.source);
    if point.kind != MountKind::Bind || !(source.starts_with(root) || root.starts_with(source)) {
        return Ok(());
    }
    match asked {
        "" => "rslave".clone_into(&mut point.propagation),
        "rslave" | "rshared" => {}
        other => {
            return Err(Error::invalid(format!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: {:?}, bind mount source: {:?}, propagation: {other:?}",
                root.display(),
                point.source
            )));
        }
    }
    Ok(())
}

/// What another container has mounted.
fn inherit(context: &Context, text: &str, into: &mut BTreeMap<String, MountPoint>) -> Result<()> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be empty"));
    }
    if mode
        .split(',')
        .any(|word| !matches!(word, "" | "ro" | "rw" | "z" | "Z"))
    {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    // It is no image that is missing, which a client would fetch.
    let found = context.registry.find(name);
    let other = found.map_err(|error| Error::invalid(error.to_string()))?.record();
    let read_only = mode.split(',').any(|word| word == "ro");
    for point in other.mounts.iter().filter(|point| point.kind != MountKind::Tmpfs) {
        let copy = MountPoint {
            read_only: point.read_only || read_only,
            no_copy: true,
            ..point.clone()
        };
        into.insert(copy.target.clone(), copy);
    }
    Ok(())
}

impl Plan {
    /// Notes that a volume is needed; answers its name.
    fn want(&mut self, mut new: NewVolume) -> String {
        if new.name.is_empty() {
            new.name = hex::encode(rand::random::<[u8; 32]>());
            new.labels
                .insert(gantry_core::volume::ANONYMOUS.to_owned(), String::new());
        }
        let name = new.name.clone();
        self.wanted.push(new);
        name
    }

    /// `-v`.
    fn bind(&mut self, record: &ContainerRecord, bind: &BindMount) -> Result<MountPoint> {
        let spelled = || format!("{}:{}", bind.source, bind.target);
        let invalid = |why: &str| Error::invalid(format!("invalid volume specification: '{}': {why}", spelled()));
        if !bind.target.starts_with('/') {
            return Err(invalid(&format!(
                "invalid mount config for type \"{}\": invalid mount path: '{}' mount path must be absolute",
                kind_of(bind),
                bind.target
            )));
        }
        let target = clean(&bind.target);
        if target == "/" {
            return Err(invalid(&format!(
                "invalid mount config for type \"{}\": invalid specification: destination can't be '/'",
                kind_of(bind)
            )));
        }
        let mut point = MountPoint {
            target,
            read_only: bind.read_only,
            propagation: bind.propagation.clone(),
            mode: bind.mode.clone(),
            no_copy: bind.mode.split(',').any(|word| word == "nocopy"),
            non_recursive: bind.non_recursive,
            shallow_read_only: bind.shallow_read_only,
            ..MountPoint::default()
        };
        if !bind.is_volume() {
            point.kind = MountKind::Bind;
            point.source = clean(&bind.source);
            point.create_source = true;
            if point.propagation.is_empty() {
                point.propagation = "rprivate".to_owned();
            }
            return Ok(point);
        }
        if !bind.propagation.is_empty() {
            return Err(invalid("propagation is for host paths only"));
        }
        if !bind.source.is_empty() {
            check_name(&bind.source).map_err(|error| error.context(format!("create {}", bind.source)))?;
        }
        point.anonymous = bind.source.is_empty();
        point.name = self.want(NewVolume {
            name: bind.source.clone(),
            driver: record.host.volume_driver.clone(),
            ..NewVolume::default()
        });
        Ok(point)
    }

    /// `--mount`.
    fn request(&mut self, record: &ContainerRecord, request: &MountRequest) -> Result<MountPoint> {
        let kind = request.kind.name();
        let invalid = |why: &str| {
            Err(Error::invalid(format!(
                "invalid mount config for type \"{kind}\": {why}"
            )))
        };
        let mut point = MountPoint {
            kind: request.kind,
            target: target_of(kind, &request.target)?,
            read_only: request.read_only,
            ..MountPoint::default()
        };
        match request.kind {
            MountKind::Bind if request.source.is_empty() => return invalid("field Source must not be empty"),
            MountKind::Bind => bound(request, &mut point)?,
            MountKind::Volume => {
                let (options, anonymous) = (&request.volume, request.source.is_empty());
                if anonymous && request.read_only {
                    return invalid("must not set ReadOnly mode when using anonymous volumes");
                }
                if anonymous && !options.subpath.is_empty() {
                    return invalid("must not set Subpath when using anonymous volumes");
                }
                if !is_below(&options.subpath) {
                    return invalid("subpath must be a relative path within the volume");
                }
                if !anonymous {
                    check_name(&request.source).map_err(|error| error.context(format!("create {}", request.source)))?;
                }
                point.no_copy = options.no_copy;
                point.subpath = options.subpath.clone();
                point.anonymous = anonymous;
                let driver = [&options.driver, &record.host.volume_driver]
                    .into_iter()
                    .find(|driver| !driver.is_empty());
                point.name = self.want(NewVolume {
                    name: request.source.clone(),
                    driver: driver.cloned().unwrap_or_default(),
                    options: options.driver_options.clone(),
                    labels: options.labels.clone(),
                });
                point.mode = "z".to_owned();
            }
            MountKind::Tmpfs if !request.source.is_empty() => return invalid("field Source must not be specified"),
            MountKind::Tmpfs => point.options = tmpfs(request)?,
        }
        Ok(point)
    }
}

fn kind_of(bind: &BindMount) -> &'static str {
    if bind.is_volume() { "volume" } else { "bind" }
}

fn bound(request: &MountRequest, point: &mut MountPoint) -> Result<()> {
    let invalid = |why: String| Err(Error::invalid(format!("invalid mount config for type \"bind\": {why}")));
    if !request.source.starts_with('/') {
        return invalid(format!(
            "invalid mount path: '{}' mount path must be absolute",
            request.source
        ));
    }
    let options = &request.bind;
    if !options.create_source && !Path::new(&request.source).exists() {
        return invalid(format!("bind source path does not exist: {}", request.source));
    }
    point.source = clean(&request.source);
    point.create_source = options.create_source;
    point.propagation = match options.propagation.as_str() {
        "" => "rprivate".to_owned(),
        other => other.to_owned(),
    };
    point.non_recursive = options.non_recursive;
    point.shallow_read_only = options.shallow_read_only;
    Ok(())
}

/// The options of a tmpfs of `--mount`.
fn tmpfs(request: &MountRequest) -> Result<String> {
    let options = &request.tmpfs;
    let mut words = Vec::new();
    if options.size < 0 {
        return Err(Error::invalid("invalid mount config for type \"tmpfs\": negative size"));
    }
    if request.read_only {
        words.push("ro".to_owned());
    }
    if options.size > 0 {
        words.push(format!("size={}", options.size));
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    Ok(words.join(","))
}

fn target_of(kind: &str, target: &str) -> Result<String> {
    let invalid = |why: String| {
        Err(Error::invalid(format!(
            "invalid mount config for type \"{kind}\": {why}"
        )))
    };
    if target.is_empty() {
        return invalid("field Target must not be empty".to_owned());
    }
    if !target.starts_with('/') {
        return invalid(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    match clean(target).as_str() {
        "/" => invalid("invalid specification: destination can't be '/'".to_owned()),
        plain => Ok(plain.to_owned()),
    }
}

/// A relative path that stays where it is.
fn is_below(path: &str) -> bool {
    Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Without doubled slashes, `.`, `..` and a slash at the end.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (text, plain) in [("/a//b/", "/a/b"), ("/", "/"), ("/a/./b/../c", "/a/c"), ("/../x", "/x")] {
            assert_eq!(clean(text), plain);
        }
        assert!(is_below("a/b") && is_below("") && !is_below("../a") && !is_below("/a"));
    }
}
