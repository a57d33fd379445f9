//! Checks of mounts, and of the ways round them.

use super::{Subject, dir, expected, file, refusal};
use gantry_core::ErrorKind;
use gantry_core::snapshot::{CommitOptions, Whiteouts};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use std::os::unix::fs::{MetadataExt, chown};
use std::{fs, io};

/// A view shows everything and takes nothing, with one layer, with two, and with none.
pub fn view_is_read_only(s: &Subject) {
    s.layer("one", None, |at| file(&at.join("f"), 0o644, "1"));
    s.layer("two", Some("one"), |at| file(&at.join("g"), 0o644, "2"));
    for (key, parent) in [("none", None), ("view-one", Some("one")), ("view-two", Some("two"))] {
        let mounts = s.view(key, parent).unwrap();
        let tried = s.on(&mounts, |at| {
            let writes = [
                fs::write(at.join("new"), ""),
                fs::remove_file(at.join("f")),
                fs::write(at.join("f"), ""),
            ];
            writes.map(|write| write.unwrap_err().kind())
        });
        let allowed = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::NotFound];
        assert!(tried.iter().all(|kind| allowed.contains(kind)), "{key}: {tried:?}");
        assert_eq!(tried[0], io::ErrorKind::ReadOnlyFilesystem, "{key}");
    }
    assert_eq!(s.tree("two"), expected(&[("f", "644:0:0 1"), ("g", "644:0:0 2")]));
}

/// The root is 0755 whatever the umask, and keeps mode and owner that a layer gives it.
pub fn root_permission(s: &Subject) {
    let root = |at: &std::path::Path| {
        let meta = fs::metadata(at).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    let mounts = s.prepare("first", None).unwrap();
    assert_eq!(s.on(&mounts, root), (0o755, 0, 0));
    let mounts = s.view("empty", None).unwrap();
    assert_eq!(s.on(&mounts, root), (0o755, 0, 0));
    s.layer("own", None, |at| {
        chown(at, Some(11), Some(12))?;
        super::chmod(at, 0o711)
    });
    s.layer("next", Some("own"), |at| file(&at.join("f"), 0o644, ""));
    let mounts = s.prepare("active", Some("next")).unwrap();
    assert_eq!(s.on(&mounts, root), (0o711, 11, 12));
    let mounts = s.view("view", Some("next")).unwrap();
    assert_eq!(s.on(&mounts, root), (0o711, 11, 12));
}

/// 128 layers are mounted as one, to write and to read.
pub fn layers_128(s: &Subject) {
    const LAYERS: usize = 128;
    let mut parent: Option<String> = None;
    for number in 0..LAYERS {
        let name = format!("layer-{number}");
        s.layer(&name, parent.as_deref(), |at| {
            file(&at.join("last"), 0o644, &number.to_string())?;
            file(&at.join(format!("file-{number}")), 0o644, "")
        });
        parent = Some(name);
    }
    let tree = s.tree("layer-127");
    assert_eq!(tree.len(), LAYERS + 1);
    assert_eq!(tree["last"], "644:0:0 127");
    let mounts = s.prepare("active", Some("layer-127")).unwrap();
    s.on(&mounts, |at| {
        file(&at.join("last"), 0o600, "done")?;
        fs::remove_file(at.join("file-0"))
    })
    .unwrap();
    s.commit("top", "active").unwrap();
    let tree = s.tree("top");
    assert_eq!(tree.len(), LAYERS);
    assert_eq!(tree["last"], "600:0:0 done");
    assert!(!tree.contains_key("file-0"));
}

/// An active snapshot keeps what was written when it is mounted once more.
pub fn mounted_again(s: &Subject) {
    s.layer("base", None, |at| file(&at.join("base"), 0o644, "b"));
    let mounts = s.prepare("active", Some("base")).unwrap();
    s.on(&mounts, |at| file(&at.join("once"), 0o644, "1")).unwrap();
    let mounts = s.mounts("active").unwrap();
    s.on(&mounts, |at| {
        file(&at.join("twice"), 0o644, &fs::read_to_string(at.join("once"))?)
    })
    .unwrap();
    s.commit("done", "active").unwrap();
    let wanted = [("base", "644:0:0 b"), ("once", "644:0:0 1"), ("twice", "644:0:0 1")];
    assert_eq!(s.tree("done"), expected(&wanted));
}

/// A layer written without a mount, with whiteouts as the snapshotter wants them, shows what a written one does.
pub fn written_directly(s: &Subject) {
    s.layer("base", None, |at| {
        file(&at.join("gone"), 0o644, "g")?;
        dir(&at.join("d"), 0o755)?;
        file(&at.join("d/hidden"), 0o644, "h")?;
        file(&at.join("kept"), 0o644, "k")
    });
    s.prepare("active", Some("base")).unwrap();
    let target = s.service.apply_target(&s.ns, &s.snapshotter, "active").unwrap();
    let (gone, d) = (target.dir.join("gone"), target.dir.join("d"));
    match target.whiteouts {
        Whiteouts::Overlay => {
            assert!(target.lower.iter().any(|lower| lower.join("d/hidden").exists()));
            mknodat(CWD, &gone, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            dir(&d, 0o700).unwrap();
            lsetxattr(&d, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        }
        Whiteouts::Plain => {
            assert!(target.lower.is_empty());
            fs::remove_file(&gone).unwrap();
            fs::remove_dir_all(&d).unwrap();
            dir(&d, 0o700).unwrap();
        }
    }
    file(&d.join("new"), 0o644, "n").unwrap();
    s.commit("done", "active").unwrap();
    let wanted = [("d", "700:0:0/"), ("d/new", "644:0:0 n"), ("kept", "644:0:0 k")];
    assert_eq!(s.tree("done"), expected(&wanted));
    assert_ne!(
        refusal(s.service.apply_target(&s.ns, &s.snapshotter, "done")),
        ErrorKind::Internal
    );
}

/// A layer prepared without its parent gets it at commit; where that is not possible, it is refused and nothing is lost.
pub fn rebase(s: &Subject) {
    s.layer("base", None, |at| file(&at.join("lower"), 0o644, "l"));
    let mounts = s.prepare("active", None).unwrap();
    s.on(&mounts, |at| file(&at.join("upper"), 0o644, "u")).unwrap();
    let options = || CommitOptions {
        parent: Some("base".to_owned()),
        ..CommitOptions::default()
    };
    let commit = |key: &str| {
        s.service
            .commit(&s.ns, &s.snapshotter, &format!("{key}-done"), key, options())
    };
    if !s.service.can_rebase(&s.snapshotter).unwrap() {
        assert_ne!(refusal(commit("active")), ErrorKind::Internal);
        assert_eq!(s.stat("active").unwrap().parent, None);
        return;
    }
    commit("active").unwrap();
    assert_eq!(s.stat("active-done").unwrap().parent.as_deref(), Some("base"));
    assert_eq!(
        s.tree("active-done"),
        expected(&[("lower", "644:0:0 l"), ("upper", "644:0:0 u")])
    );
    // The parent it has is fine, another is not.
    s.layer("other", None, |_| Ok(()));
    s.prepare("of-other", Some("other")).unwrap();
    assert_eq!(refusal(commit("of-other")), ErrorKind::InvalidArgument);
    s.prepare("of-base", Some("base")).unwrap();
    commit("of-base").unwrap();
}
