//! Checks of what layers show together.

use super::{Subject, chmod, dir, expected, file};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::{fs, io};

/// Files are added, replaced and emptied layer by layer.
pub fn layers_add_up(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("etc"), 0o700)?;
        file(&at.join("etc/hosts"), 0o644, "127.0.0.1 localhost")?;
        file(&at.join("etc/profile"), 0o644, "PATH=/usr/bin")?;
        dir(&at.join("root"), 0o700)?;
        file(&at.join("root/.bashrc"), 0o644, "PATH=/usr/sbin:/usr/bin")
    });
    s.layer("2", Some("1"), |at| {
        file(&at.join("etc/hosts"), 0o644, "127.0.0.1 localhost.localdomain")?;
        fs::remove_file(at.join("etc/profile"))?;
        file(&at.join("root/.bash_profile"), 0o600, "")
    });
    s.layer("3", Some("2"), |at| {
        file(&at.join("etc/profile"), 0o640, "PATH=/bin")?;
        fs::OpenOptions::new()
            .append(true)
            .open(at.join("root/.bashrc"))
            .and_then(|mut bashrc| io::Write::write_all(&mut bashrc, b":/sbin"))
    });
    let wanted = [
        ("etc", "700:0:0/"),
        ("etc/hosts", "644:0:0 127.0.0.1 localhost.localdomain"),
        ("etc/profile", "640:0:0 PATH=/bin"),
        ("root", "700:0:0/"),
        ("root/.bashrc", "644:0:0 PATH=/usr/sbin:/usr/bin:/sbin"),
        ("root/.bash_profile", "600:0:0 "),
    ];
    assert_eq!(s.tree("3"), expected(&wanted));
}

/// A directory of a lower layer, removed and made again, is empty: nothing shines through.
pub fn directory_removed_and_made_again(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("dir1"), 0o700)?;
        dir(&at.join("dir1/sub"), 0o700)?;
        file(&at.join("dir1/f1"), 0o644, "1")?;
        file(&at.join("dir1/sub/f2"), 0o644, "2")
    });
    s.layer("2", Some("1"), |at| {
        fs::remove_dir_all(at.join("dir1"))?;
        dir(&at.join("dir1"), 0o750)?;
        file(&at.join("dir1/f3"), 0o644, "3")
    });
    s.layer("3", Some("2"), |at| dir(&at.join("dir1/sub"), 0o711));
    let second = [("dir1", "750:0:0/"), ("dir1/f3", "644:0:0 3")];
    assert_eq!(s.tree("2"), expected(&second));
    let third = [("dir1", "750:0:0/"), ("dir1/f3", "644:0:0 3"), ("dir1/sub", "711:0:0/")];
    assert_eq!(s.tree("3"), expected(&third));
}

/// A new owner in an upper layer, of file, directory and link, leaves content alone.
pub fn chown_in_a_layer(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("opt"), 0o700)?;
        dir(&at.join("opt/a"), 0o700)?;
        file(&at.join("opt/a/x"), 0o644, "x")?;
        file(&at.join("opt/b"), 0o4755, "b")?;
        symlink("b", at.join("opt/l"))
    });
    s.layer("2", Some("1"), |at| {
        chown(at.join("opt"), Some(1), Some(1))?;
        chown(at.join("opt/a/x"), Some(2), Some(3))?;
        chown(at.join("opt/b"), Some(4), None)?;
        std::os::unix::fs::lchown(at.join("opt/l"), Some(5), Some(6))
    });
    let wanted = [
        ("opt", "700:1:1/"),
        ("opt/a", "700:0:0/"),
        ("opt/a/x", "644:2:3 x"),
        // A change of owner takes the set-id bit away (chown(2)).
        ("opt/b", "755:4:0 b"),
        ("opt/l", "-> b"),
    ];
    assert_eq!(s.tree("2"), expected(&wanted));
}

/// Modes and owners of directories, changed in one layer and not mentioned in the next, are kept.
pub fn directory_mode_survives_commit(s: &Subject) {
    s.layer("1", None, |at| {
        for name in ["dir1", "dir2", "dir3", "dir4"] {
            dir(&at.join(name), 0o700)?;
        }
        dir(&at.join("dir5"), 0o7777)
    });
    s.layer("2", Some("1"), |at| {
        chmod(&at.join("dir1"), 0o711)?;
        file(&at.join("dir2/f"), 0o644, "")?;
        chown(at.join("dir3"), Some(9), Some(9))?;
        fs::remove_dir(at.join("dir4"))
    });
    s.layer("3", Some("2"), |at| file(&at.join("dir1/f"), 0o644, ""));
    let wanted = [
        ("dir1", "711:0:0/"),
        ("dir1/f", "644:0:0 "),
        ("dir2", "700:0:0/"),
        ("dir2/f", "644:0:0 "),
        ("dir3", "700:9:9/"),
        ("dir5", "7777:0:0/"),
    ];
    assert_eq!(s.tree("3"), expected(&wanted));
}

/// What a child deletes is gone there and in its children, and there in the parent.
pub fn deleted_in_child(s: &Subject) {
    s.layer("1", None, |at| {
        file(&at.join("foo"), 0o644, "foo")?;
        dir(&at.join("d"), 0o755)?;
        file(&at.join("d/inner"), 0o644, "inner")?;
        file(&at.join("bar"), 0o644, "bar")
    });
    s.layer("2", Some("1"), |at| {
        fs::remove_file(at.join("foo"))?;
        fs::remove_dir_all(at.join("d"))
    });
    s.layer("3", Some("2"), |at| file(&at.join("other"), 0o644, ""));
    assert_eq!(s.tree("2"), expected(&[("bar", "644:0:0 bar")]));
    assert_eq!(s.tree("3"), expected(&[("bar", "644:0:0 bar"), ("other", "644:0:0 ")]));
    assert_eq!(s.tree("1").len(), 4);
    // A file in the deleted directory's place, and its content does not come back.
    s.layer("4", Some("3"), |at| file(&at.join("d"), 0o600, "a file now"));
    s.layer("5", Some("4"), |at| {
        fs::remove_file(at.join("d"))?;
        dir(&at.join("d"), 0o700)
    });
    let wanted = [("bar", "644:0:0 bar"), ("other", "644:0:0 "), ("d", "700:0:0/")];
    assert_eq!(s.tree("5"), expected(&wanted));
}

/// A file of a lower layer, moved, is at its new place only.
pub fn moved_from_lower(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("dir1"), 0o700)?;
        file(&at.join("dir1/f1"), 0o644, "hello")?;
        dir(&at.join("dir2"), 0o700)?;
        file(&at.join("dir2/f2"), 0o644, "again")
    });
    s.layer("2", Some("1"), |at| {
        dir(&at.join("dir3"), 0o700)?;
        fs::rename(at.join("dir1/f1"), at.join("dir3/f1"))?;
        move_directory(&at.join("dir2"), &at.join("dir4"))
    });
    let wanted = [
        ("dir1", "700:0:0/"),
        ("dir3", "700:0:0/"),
        ("dir3/f1", "644:0:0 hello"),
        ("dir4", "700:0:0/"),
        ("dir4/f2", "644:0:0 again"),
    ];
    assert_eq!(s.tree("2"), expected(&wanted));
}

/// Renames onto other names, over files of lower layers and back.
pub fn renames(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("d"), 0o700)?;
        file(&at.join("d/a"), 0o644, "a")?;
        file(&at.join("d/b"), 0o600, "b")?;
        file(&at.join("c"), 0o644, "c")
    });
    s.layer("2", Some("1"), |at| {
        fs::rename(at.join("d/a"), at.join("d/b"))?;
        fs::rename(at.join("c"), at.join("was-c"))?;
        dir(&at.join("new"), 0o755)?;
        file(&at.join("new/f"), 0o644, "f")?;
        fs::rename(at.join("new"), at.join("renamed"))
    });
    s.layer("3", Some("2"), |at| {
        fs::rename(at.join("was-c"), at.join("c"))?;
        move_directory(&at.join("renamed"), &at.join("d/in"))
    });
    let wanted = [
        ("c", "644:0:0 c"),
        ("d", "700:0:0/"),
        ("d/b", "644:0:0 a"),
        ("d/in", "755:0:0/"),
        ("d/in/f", "644:0:0 f"),
    ];
    assert_eq!(s.tree("3"), expected(&wanted));
}

/// As mv(1) does: a copy where rename(2) is refused, as overlayfs does for directories of lower layers.
fn move_directory(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::create_dir(to)?;
            fs::set_permissions(to, fs::metadata(from)?.permissions())?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            fs::remove_dir_all(from)
        }
        other => other,
    }
}

/// Modes changed alone, and with content, in an upper layer.
pub fn file_permissions_overwritten(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("d"), 0o755)?;
        file(&at.join("d/mode"), 0o644, "kept")?;
        file(&at.join("d/both"), 0o600, "old")?;
        file(&at.join("d/setuid"), 0o4755, "s")
    });
    s.layer("2", Some("1"), |at| {
        chmod(&at.join("d/mode"), 0o777)?;
        fs::remove_file(at.join("d/both"))?;
        file(&at.join("d/both"), 0o444, "new")
    });
    s.layer("3", Some("2"), |at| chmod(&at.join("d/mode"), 0o400));
    let wanted = [
        ("d", "755:0:0/"),
        ("d/mode", "400:0:0 kept"),
        ("d/both", "444:0:0 new"),
        ("d/setuid", "4755:0:0 s"),
    ];
    assert_eq!(s.tree("3"), expected(&wanted));
}

/// Links stay links, and a link and a directory can take each other's place.
pub fn symlinks(s: &Subject) {
    s.layer("1", None, |at| {
        dir(&at.join("usr"), 0o755)?;
        dir(&at.join("usr/bin"), 0o755)?;
        file(&at.join("usr/bin/sh"), 0o755, "sh")?;
        symlink("usr/bin", at.join("bin"))?;
        dir(&at.join("lib"), 0o755)?;
        file(&at.join("lib/so"), 0o644, "so")?;
        symlink("/absolute/../away", at.join("away"))
    });
    s.layer("2", Some("1"), |at| {
        // Through the link, into the directory it names.
        file(&at.join("bin/ls"), 0o755, "ls")?;
        // Merged /usr: a directory becomes a link.
        dir(&at.join("usr/lib"), 0o755)?;
        fs::rename(at.join("lib/so"), at.join("usr/lib/so"))?;
        fs::remove_dir(at.join("lib"))?;
        symlink("usr/lib", at.join("lib"))
    });
    s.layer("3", Some("2"), |at| {
        fs::remove_file(at.join("bin"))?;
        dir(&at.join("bin"), 0o700)?;
        fs::remove_file(at.join("away"))
    });
    let wanted = [
        ("bin", "700:0:0/"),
        ("lib", "-> usr/lib"),
        ("usr", "755:0:0/"),
        ("usr/bin", "755:0:0/"),
        ("usr/bin/ls", "755:0:0 ls"),
        ("usr/bin/sh", "755:0:0 sh"),
        ("usr/lib", "755:0:0/"),
        ("usr/lib/so", "644:0:0 so"),
    ];
    assert_eq!(s.tree("3"), expected(&wanted));
}

/// Two snapshots of one parent, written at the same time, see nothing of each other.
pub fn siblings_do_not_meet(s: &Subject) {
    s.layer("base", None, |at| file(&at.join("f"), 0o644, "base"));
    let left = s.prepare("left", Some("base")).unwrap();
    let right = s.prepare("right", Some("base")).unwrap();
    std::thread::scope(|scope| {
        // A subject may hold what cannot be shared with threads; what mounting needs can.
        let (at, way) = (&s.at, s.way);
        let write = |mounts: Vec<gantry_core::Mount>, text: &'static str| {
            scope.spawn(move || {
                let work = |root: &Path| file(&root.join("f"), 0o644, text);
                gantry_snapshots_mount::with_mounted_by(way, at, &mounts, work)
                    .unwrap()
                    .unwrap();
            })
        };
        let both = [write(left, "left"), write(right, "right")];
        both.into_iter().for_each(|thread| thread.join().unwrap());
    });
    s.commit("left-done", "left").unwrap();
    s.commit("right-done", "right").unwrap();
    for (name, text) in [
        ("left-done", "644:0:0 left"),
        ("right-done", "644:0:0 right"),
        ("base", "644:0:0 base"),
    ] {
        assert_eq!(s.tree(name), expected(&[("f", text)]));
    }
}
