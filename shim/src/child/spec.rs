//! The bundle's OCI spec, read, checked and completed for the built-in runtime. It lives in forked children only.

use super::builtin::with_sources;
use crate::failure::{Failure, Kind, Result, failed};
use libcontainer::oci_spec::runtime::{
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, LinuxSeccompArgBuilder, LinuxSeccompOperator, Spec,
};
use std::path::{Path, PathBuf};

pub fn cgroup_path(spec: &Spec, id: &str) -> PathBuf {
    let named = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    named.unwrap_or_else(|| format!("/{id}").into())
}

pub fn console_size(spec: &Spec) -> Option<(u16, u16)> {
    let size = spec.process().as_ref()?.console_size()?;
    Some((size.height() as u16, size.width() as u16))
}

/// Reads, checks and completes the bundle's spec. It lives in this child only.
pub fn load_spec(bundle: &Path, id: &str) -> Result<Spec> {
    let path = bundle.join("config.json");
    let mut spec = Spec::load(&path).map_err(failed(Kind::Spec, format_args!("reading {}", path.display())))?;
    libcontainer::validator::Validator::validate_spec(&spec)
        .map_err(|err| Failure::new(Kind::Spec, format!("invalid spec: {}", with_sources(&err))))?;
    if let Some(mounts) = spec.mounts() {
        libcontainer::utils::validate_mount_options(mounts).map_err(failed(Kind::Spec, "invalid spec"))?;
    }
    spec.canonicalize_rootfs(bundle)
        .map_err(failed(Kind::Spec, "invalid spec"))?;
    let cgroup = cgroup_path(&spec, id);
    if cgroup.to_string_lossy().contains(':') {
        let text = format!(
            "cgroup path {} is systemd's: the built-in runtime makes plain cgroups; name another runtime",
            cgroup.display()
        );
        return Err(Failure::new(Kind::Unsupported, text));
    }
    normalise(&mut spec);
    Ok(spec)
}

/// What is to be bound into the container is there, or the failure says what is not: the runtime itself only says that something is missing.
pub fn demand_sources(spec: &Spec) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        let options = mount.options().as_deref().unwrap_or_default();
        let bound = mount.typ().as_deref() == Some("bind") || options.iter().any(|one| one == "bind" || one == "rbind");
        let Some(source) = mount.source().as_deref().filter(|_| bound) else {
            continue;
        };
        let Err(err) = std::fs::metadata(source) else { continue };
        if err.kind() != std::io::ErrorKind::NotFound {
            continue;
        }
        let (source, target) = (source.display(), mount.destination().display());
        let text = format!("mounting {source} at {target}: no such file or directory: make it, or name another");
        let words = format!(
            "error during container init: error mounting \"{source}\" to rootfs at \"{target}\": stat {source}: no such file or directory"
        );
        return Err(Failure::new(Kind::Runtime, text).with_peer(words));
    }
    Ok(())
}

/// `noNewPrivileges: false` says the same as leaving it out, but libcontainer would then load the seccomp filter after
/// giving up the right to.
pub fn normalise(spec: &mut Spec) {
    if let Some(process) = spec.process_mut()
        && process.no_new_privileges() == Some(false)
    {
        process.set_no_new_privileges(None);
    }
    if let Some(seccomp) = spec.linux_mut().as_mut().and_then(|linux| linux.seccomp_mut().as_mut()) {
        turn_masked_comparisons(seccomp);
    }
}

/// Everything that was namespaced at create is joined, by way of the first process.
pub fn join_namespaces(spec: &mut Spec, init: u32) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut kinds: Vec<LinuxNamespaceType> = linux
        .namespaces()
        .iter()
        .flatten()
        .map(|namespace| namespace.typ())
        .collect();
    if !kinds.contains(&LinuxNamespaceType::Mount) {
        kinds.push(LinuxNamespaceType::Mount);
    }
    let joined: Result<Vec<_>> = kinds
        .into_iter()
        .map(|kind| {
            let path = format!("/proc/{init}/ns/{}", namespace_file(kind));
            LinuxNamespaceBuilder::default()
                .typ(kind)
                .path(path)
                .build()
                .map_err(failed(Kind::Spec, "joining namespaces"))
        })
        .collect();
    linux
        .set_namespaces(Some(joined?))
        .set_net_devices(None)
        .set_resources(None)
        .set_sysctl(None);
    Ok(())
}

fn namespace_file(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    }
}

/// `SCMP_CMP_MASKED_EQ` says `(argument & value) == valueTwo` (OCI runtime-spec; runc and crun do so); libcontainer 0.7
/// takes `valueTwo` for the mask, by which Docker's rule for clone(2) would refuse every fork.
fn turn_masked_comparisons(seccomp: &mut LinuxSeccomp) {
    let turned = seccomp.syscalls().iter().flatten().cloned().map(|mut syscall| {
        let args = syscall.args().iter().flatten().map(|arg| match arg.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => LinuxSeccompArgBuilder::default()
                .index(arg.index())
                .op(arg.op())
                .value(arg.value_two().unwrap_or(0))
                .value_two(arg.value())
                .build()
                .expect("every field is given"),
            _ => *arg,
        });
        let args: Vec<_> = args.collect();
        syscall.set_args(Some(args).filter(|args| !args.is_empty()));
        syscall
    });
    let turned: Vec<_> = turned.collect();
    seccomp.set_syscalls(Some(turned));
}
