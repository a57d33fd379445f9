//! Id mappings of a user namespace of its own. libcontainer writes a single one itself and runs `newuidmap` and `newgidmap` for more;
//! those belong to users without rights, and need not be installed: for it they are this program, by links.

use crate::failure::{Kind, Result, failed};
use libcontainer::{
    oci_spec::runtime::{Linux, LinuxNamespaceType, Spec},
    user_ns::UserNamespaceConfig,
};
use std::{ffi::OsStr, fs, io, path::Path};

/// Names by which this program is called to write a map, and the file that it writes.
const WRITERS: [(&str, &str); 2] = [("newuidmap", "uid_map"), ("newgidmap", "gid_map")];

/// What is to be mapped for a container; `dir` is its own.
pub fn of(spec: &Spec, dir: &Path) -> Result<Option<UserNamespaceConfig>> {
    let wrong = "reading the user namespace";
    let Some(linux) = spec.linux().as_ref().filter(|linux| has_several(linux)) else {
        return UserNamespaceConfig::new(spec).map_err(failed(Kind::Spec, wrong));
    };
    let mut config = UserNamespaceConfig::try_from(linux).map_err(failed(Kind::Spec, wrong))?;
    // This process lives until they have been run, and its file may have been replaced.
    let program = format!("/proc/{}/exe", std::process::id());
    let [uids, gids] = WRITERS.map(|(name, _)| dir.join(name));
    for link in [&uids, &gids] {
        let _ = fs::remove_file(link);
        std::os::unix::fs::symlink(&program, link).map_err(failed(Kind::Runtime, "preparing the id mappings"))?;
    }
    (config.newuidmap, config.newgidmap) = (Some(uids), Some(gids));
    Ok(Some(config))
}

fn has_several(linux: &Linux) -> bool {
    let is_new = |namespace: &libcontainer::oci_spec::runtime::LinuxNamespace| {
        namespace.typ() == LinuxNamespaceType::User && namespace.path().is_none()
    };
    let lists = [linux.uid_mappings(), linux.gid_mappings()];
    linux.namespaces().iter().flatten().any(is_new) && lists.into_iter().flatten().any(|mappings| mappings.len() > 1)
}

/// The map that this program is to write, if it is called by one of those names.
pub fn asked(program: Option<&OsStr>) -> Option<&'static str> {
    let name = Path::new(program?).file_name()?;
    WRITERS
        .iter()
        .find(|(writer, _)| name == *writer)
        .map(|(_, file)| *file)
}

/// `PID (CONTAINER HOST SIZE)…`, as those programs are called. The kernel takes a map in one piece.
pub fn write(file: &str, words: &[String]) -> io::Result<()> {
    let (pid, text) = map(words).ok_or_else(|| io::Error::other("PID and numbers by threes are expected"))?;
    fs::write(format!("/proc/{pid}/{file}"), text)
}

fn map(words: &[String]) -> Option<(u32, String)> {
    let (pid, numbers) = words.split_first()?;
    let numbers: Vec<u32> = numbers.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let lines = numbers.chunks(3).map(|line| match line {
        [inside, outside, size] => Some(format!("{inside} {outside} {size}\n")),
        _ => None,
    });
    let text: String = lines.collect::<Option<_>>()?;
    Some((pid.parse().ok()?, text)).filter(|(_, text)| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_written_by_threes() {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let told = map(&words("42 0 0 10 10 1000 65535"));
        assert_eq!(told, Some((42, "0 0 10\n10 1000 65535\n".to_owned())));
        for text in ["", "42", "42 0 0", "42 0 0 x", "x 0 0 1"] {
            assert_eq!(map(&words(text)), None, "{text}");
        }
        assert_eq!(asked(Some(OsStr::new("/run/x/newgidmap"))), Some("gid_map"));
        assert_eq!(asked(Some(OsStr::new("containerd-shim-gantry-v1"))), None);
    }
}
