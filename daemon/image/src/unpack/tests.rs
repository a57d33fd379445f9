use super::*;
use crate::testing::{Member, dir, file, link, member, tar_of};
use gantry_core::snapshot::Whiteouts;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;

/// A layer directory with something precious beside it.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("layer")).unwrap();
        std::fs::create_dir(root.path().join("outside")).unwrap();
        std::fs::write(root.path().join("outside/secret"), "precious").unwrap();
        Self { root }
    }

    fn layer(&self) -> PathBuf {
        self.root.path().join("layer")
    }

    fn apply(&self, whiteouts: Whiteouts, tar: &[u8]) -> Result<Applied> {
        self.apply_with(whiteouts, tar, &Limits::default())
    }

    fn apply_with(&self, whiteouts: Whiteouts, tar: &[u8], limits: &Limits) -> Result<Applied> {
        let target = ApplyTarget {
            dir: self.layer(),
            whiteouts,
            lower: Vec::new(),
        };
        apply(tar, &target, limits, Algorithm::Sha256, |_| {})
    }

    /// Everything outside is as it was.
    fn assert_unharmed(&self, case: &str) {
        let secret = self.root.path().join("outside/secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "precious", "{case}");
        let meta = secret.metadata().unwrap();
        assert_eq!(
            (meta.nlink(), meta.mode() & 0o7777, meta.uid()),
            (1, 0o644, 0),
            "{case}"
        );
        assert_eq!(
            std::fs::read_dir(self.root.path().join("outside")).unwrap().count(),
            1,
            "{case}"
        );
        assert_eq!(std::fs::read_dir(self.root.path()).unwrap().count(), 2, "{case}");
        let age = self.root.path().join("outside").metadata().unwrap().mtime();
        assert!(age > 1_500_000_000, "{case}: times of the outside were set");
    }
}

fn xattr(mut member: Member, name: &str, value: &[u8]) -> Member {
    member.pax.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
    member
}

fn with(mut member: Member, change: impl FnOnce(&mut tar::Header)) -> Member {
    change(&mut member.header);
    member
}

fn pax_path(mut member: Member, path: &[u8]) -> Member {
    member.pax.push(("path".to_owned(), path.to_vec()));
    member
}

#[test]
fn hostile_layers_are_refused_and_harm_nothing() {
    use EntryType::{Link, Symlink};
    let deep = "d/".repeat(3000);
    let cases: Vec<(&str, Vec<Member>, &str)> = vec![
        ("climbing path", vec![file("../outside/secret", "x")], "would leave"),
        (
            "climbing late",
            vec![file("a/../../outside/secret", "x")],
            "would leave",
        ),
        (
            "link out",
            vec![link(Symlink, "a", "../outside"), file("a/secret", "x")],
            "to be a directory",
        ),
        (
            "absolute link out",
            vec![link(Symlink, "a", "/outside"), file("a/secret", "x")],
            "to be a directory",
        ),
        (
            "magic link",
            vec![link(Symlink, "a", "/proc/self/root"), file("a/tmp/x", "x")],
            "to be a directory",
        ),
        (
            "link loop",
            vec![link(Symlink, "a", "b"), link(Symlink, "b", "a"), file("a/x", "x")],
            "",
        ),
        (
            "hard link out",
            vec![link(Link, "a", "../outside/secret")],
            "would leave",
        ),
        ("absolute hard link", vec![link(Link, "a", "/etc/passwd")], "missing"),
        (
            "hard link through link",
            vec![link(Symlink, "d", "../outside"), link(Link, "a", "d/secret")],
            "missing",
        ),
        ("hard link to root", vec![link(Link, "a", "/")], "layer's root"),
        ("hard link to directory", vec![dir("d"), link(Link, "a", "d")], ""),
        ("whiteout of nothing", vec![file(".wh.", "")], "removes no name"),
        ("whiteout of self", vec![file("a/.wh..", "")], "removes no name"),
        ("whiteout of parent", vec![file("a/.wh...", "")], "removes no name"),
        ("root as link", vec![link(Symlink, "./", "/")], "no directory"),
        ("root as file", vec![file(".", "x")], "no directory"),
        ("file as parent", vec![file("a", "x"), file("a/b", "x")], ""),
        ("zero byte", vec![pax_path(file("a", "x"), b"a\0b")], "zero byte"),
        (
            "deep path",
            vec![pax_path(file("a", "x"), deep.as_bytes())],
            "max-depth",
        ),
        (
            "long name",
            vec![pax_path(file("a", "x"), &[b'n'; 300])],
            "File name too long",
        ),
        ("unknown type", vec![member(EntryType::new(b'Z'), "a")], "unknown type"),
        ("empty link", vec![link(Symlink, "a", "")], "link to nothing"),
        (
            "bad pax",
            vec![{
                let mut m = file("a", "x");
                m.pax.push(("mtime".into(), b"soon".to_vec()));
                m
            }],
            "mtime",
        ),
        (
            "huge uid",
            vec![{
                let mut m = file("a", "x");
                m.pax.push(("uid".into(), b"99999999999".to_vec()));
                m
            }],
            "uid",
        ),
    ];
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        for (case, members, said) in &cases {
            let place = Place::new();
            let tar = tar_of(members.iter().map(copy).collect());
            let error = place.apply(whiteouts, &tar).expect_err(case);
            assert!(error.to_string().contains(said), "{case}: {error}");
            place.assert_unharmed(case);
        }
    }
}

fn copy(member: &Member) -> Member {
    Member {
        header: member.header.clone(),
        path: member.path.clone(),
        link: member.link.clone(),
        content: member.content.clone(),
        pax: member.pax.clone(),
    }
}

#[test]
fn tricks_that_are_no_errors_stay_inside() {
    use EntryType::{Char, Fifo, Link, Symlink};
    let outside = "../outside";
    let cases: Vec<(&str, Vec<Member>)> = vec![
        ("absolute path", vec![file("/outside/secret", "x")]),
        (
            "file over link",
            vec![link(Symlink, "a", "../outside/secret"), file("a", "x")],
        ),
        (
            "hard link to link",
            vec![
                link(Symlink, "a", "../outside/secret"),
                link(Link, "b", "a"),
                file("b", "x"),
            ],
        ),
        ("link to root", vec![link(Symlink, "a", "/"), file("a/b", "x")]),
        (
            "link with climbing",
            vec![dir("d"), link(Symlink, "d/a", "../../../.."), file("d/a/b", "x")],
        ),
        ("file over fifo", vec![member(Fifo, "p"), file("p", "x")]),
        (
            "file over device",
            vec![
                with(member(Char, "n"), |h| {
                    h.set_device_major(1).unwrap();
                    h.set_device_minor(3).unwrap();
                }),
                file("n", "x"),
            ],
        ),
        (
            "times through link",
            vec![
                dir("d"),
                dir("d/outside"),
                file("d/outside/f", "x"),
                link(Symlink, "e", outside),
                dir("f"),
                link(Symlink, "f", outside),
            ],
        ),
        (
            "directory becomes link",
            vec![
                dir("d"),
                file("d/x", "x"),
                link(Symlink, "d", outside),
                dir("d"),
                file("d/secret", "x"),
            ],
        ),
    ];
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Plain] {
        for (case, members) in &cases {
            let place = Place::new();
            let tar = tar_of(members.iter().map(copy).collect());
            place.apply(whiteouts, &tar).unwrap_or_else(|e| panic!("{case}: {e}"));
            place.assert_unharmed(case);
        }
    }
    let place = Place::new();
    place
        .apply(
            Whiteouts::Overlay,
            &tar_of(vec![link(Symlink, "a", "/"), file("a/b", "x")]),
        )
        .unwrap();
    assert_eq!(std::fs::read_to_string(place.layer().join("b")).unwrap(), "x");
}

#[test]
fn overlay_attributes_cannot_be_smuggled_in() {
    let place = Place::new();
    let sneaky = xattr(dir("d"), "trusted.overlay.redirect", b"/other");
    place
        .apply(
            Whiteouts::Overlay,
            &tar_of(vec![xattr(sneaky, "trusted.mine", b"1\n2")]),
        )
        .unwrap();
    let mut value = [0; 16];
    let path = place.layer().join("d");
    assert!(rustix::fs::lgetxattr(&path, "trusted.overlay.redirect", &mut value[..]).is_err());
    let length = rustix::fs::lgetxattr(&path, "trusted.mine", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"1\n2");
}

#[test]
fn everything_a_layer_says_is_kept() {
    let place = Place::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0];
    let set_id = with(file("bin/su", "su"), |h| {
        h.set_mode(0o4755);
        h.set_uid(7);
        h.set_gid(8);
    });
    let mut fine = file("fine", "x");
    fine.pax.push(("mtime".to_owned(), b"1234567890.25".to_vec()));
    let device = with(member(EntryType::Char, "null"), |h| {
        h.set_mode(0o666);
        h.set_device_major(1).unwrap();
        h.set_device_minor(3).unwrap();
    });
    let tar = tar_of(vec![
        with(dir("./"), |h| h.set_mode(0o750)),
        with(dir("bin/"), |h| h.set_mode(0o1777)),
        xattr(set_id, "security.capability", &capability),
        link(EntryType::Link, "bin/su2", "bin/su"),
        link(EntryType::Symlink, "sh", "bin/su"),
        member(EntryType::Fifo, "pipe"),
        device,
        fine,
        file("deep/er/file", "implied"),
    ]);
    let applied = place.apply(Whiteouts::Overlay, &tar).unwrap();
    let at = |name: &str| place.layer().join(name).symlink_metadata().unwrap();
    assert_eq!(place.layer().metadata().unwrap().mode() & 0o7777, 0o750);
    assert_eq!((at("bin").mode() & 0o7777, at("bin").mtime()), (0o1777, 1_000_000_000));
    assert_eq!(
        (at("bin/su").mode() & 0o7777, at("bin/su").uid(), at("bin/su").gid()),
        (0o4755, 7, 8)
    );
    assert_eq!((at("bin/su2").ino(), at("bin/su").nlink()), (at("bin/su").ino(), 2));
    assert!(at("sh").file_type().is_symlink() && at("sh").mtime() == 1_000_000_000);
    assert!(at("pipe").file_type().is_fifo());
    assert_eq!(
        (at("null").file_type().is_char_device(), at("null").rdev()),
        (true, 0x103)
    );
    assert_eq!(
        (at("fine").mtime(), at("fine").mtime_nsec()),
        (1_234_567_890, 250_000_000)
    );
    let mut value = [0; 64];
    let length = rustix::fs::lgetxattr(place.layer().join("bin/su"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(&value[..length], capability);
    assert_eq!(applied.implied, vec![b"deep".to_vec(), b"deep/er".to_vec()]);
    assert_eq!(applied.diff_id, crate::hash::Hasher::of(Algorithm::Sha256, &tar));
}

#[test]
fn implied_directories_take_after_the_layers_below() {
    let root = tempfile::tempdir().unwrap();
    let (near, far, layer) = (
        root.path().join("near"),
        root.path().join("far"),
        root.path().join("layer"),
    );
    for path in [&near, &far, &layer] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::create_dir_all(far.join("var/tmp")).unwrap();
    std::fs::set_permissions(far.join("var/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::create_dir(near.join("var")).unwrap();
    std::fs::set_permissions(near.join("var"), PermissionsExt::from_mode(0o711)).unwrap();
    let tar = tar_of(vec![file("var/tmp/x", "x"), file("new/x", "x")]);
    let target = |lower: Vec<PathBuf>| ApplyTarget {
        dir: layer.clone(),
        whiteouts: Whiteouts::Overlay,
        lower,
    };
    let lower = vec![near.clone(), far.clone()];
    let applied = apply(
        &tar[..],
        &target(Vec::new()),
        &Limits::default(),
        Algorithm::Sha256,
        |_| {},
    )
    .unwrap();
    inherit(&layer, &applied.implied, &lower).unwrap();
    let mode = |name: &str| layer.join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("var"), mode("var/tmp"), mode("new")), (0o711, 0o1777, 0o755));
    // And at once, where the layers below are known from the start.
    std::fs::remove_dir_all(&layer).unwrap();
    std::fs::create_dir(&layer).unwrap();
    let applied = apply(&tar[..], &target(lower), &Limits::default(), Algorithm::Sha256, |_| {}).unwrap();
    assert_eq!((mode("var"), mode("var/tmp"), mode("new")), (0o711, 0o1777, 0o755));
    assert_eq!(applied.implied, vec![b"".to_vec(), b"new".to_vec()]);
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    matches!(
        rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..]),
        Ok(1)
    )
}

#[test]
fn removals_as_overlayfs_says_them() {
    let place = Place::new();
    let tar = tar_of(vec![
        dir("etc"),
        file("etc/.wh.gone", ""),
        dir("opaque"),
        file("opaque/kept", "x"),
        file("opaque/.wh..wh..opq", ""),
        file(".wh.anew", ""),
        dir("anew"),
        dir("late"),
        file("late/x", "x"),
        file(".wh.late", ""),
        file("file", "x"),
        file(".wh.file", ""),
        file(".wh..wh.plnk", ""),
        file("under/.wh.x", ""),
        file(".wh.dir", ""),
        file("dir/x", "x"),
    ]);
    place.apply(Whiteouts::Overlay, &tar).unwrap();
    let layer = place.layer();
    for gone in ["etc/gone", "under/x"] {
        let meta = layer.join(gone).symlink_metadata().unwrap();
        assert!(meta.file_type().is_char_device() && meta.rdev() == 0, "{gone}");
    }
    for opaque in ["opaque", "anew", "late", "dir"] {
        assert!(is_opaque(&layer.join(opaque)), "{opaque}");
    }
    assert!(!is_opaque(&layer.join("etc")) && !is_opaque(&layer.join("under")));
    assert!(layer.join("opaque/kept").is_file() && layer.join("late/x").is_file() && layer.join("file").is_file());
    assert!(!layer.join(".wh..wh.plnk").exists());
}

#[test]
fn removals_in_a_tree_that_holds_the_layers_below() {
    let place = Place::new();
    let layer = place.layer();
    for path in ["etc", "opaque/sub", "late/sub", "other"] {
        std::fs::create_dir_all(layer.join(path)).unwrap();
    }
    for path in [
        "etc/gone",
        "etc/stays",
        "opaque/old",
        "opaque/sub/old",
        "late/old",
        "late/sub/old",
    ] {
        std::fs::write(layer.join(path), "old").unwrap();
    }
    let tar = tar_of(vec![
        file("etc/.wh.gone", ""),
        file("etc/.wh.never", ""),
        file("opaque/kept", "x"),
        file("opaque/sub/kept", "x"),
        file("opaque/.wh..wh..opq", ""),
        dir("late"),
        file("late/new", "x"),
        file(".wh.late", ""),
        file(".wh.other", ""),
    ]);
    place.apply(Whiteouts::Plain, &tar).unwrap();
    let mut found: Vec<String> = Vec::new();
    let mut todo = vec![layer.clone()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => found.push(path.strip_prefix(&layer).unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    found.sort();
    assert_eq!(found, ["etc/stays", "late/new", "opaque/kept", "opaque/sub/kept"]);
}

#[test]
fn bombs_are_stopped_by_the_limit_they_break() {
    let zeros = tar_of(vec![Member {
        content: vec![0; 8 << 20],
        ..file("zeros", "")
    }]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&zeros[..], 3).unwrap();
    let many = tar_of((0..100).map(|n| file(&format!("f{n}"), "")).collect());
    let small = |limits: fn(&mut Limits)| {
        let mut made = Limits::default();
        limits(&mut made);
        made
    };
    for (tar, limits, name) in [
        (&gzip, small(|l| l.max_bytes = 1 << 20), "max-bytes"),
        (&zstd, small(|l| l.max_bytes = 1 << 20), "max-bytes"),
        (&zstd, small(|l| l.ratio_floor = 1 << 20), "max-ratio"),
        (
            &gzip,
            small(|l| (l.ratio_floor, l.max_ratio) = (1 << 20, 100)),
            "max-ratio",
        ),
        (&many, small(|l| l.max_entries = 99), "max-entries"),
    ] {
        let error = Place::new().apply_with(Whiteouts::Overlay, tar, &limits).unwrap_err();
        assert!(
            matches!(error, ImageError::Limit { limit, .. } if limit == name),
            "{name}: {error}"
        );
    }
    Place::new().apply(Whiteouts::Overlay, &gzip).unwrap();
}

#[test]
fn a_layer_cut_short_anywhere_is_an_error() {
    let content: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let tar = tar_of(vec![dir("d"), file("d/a", &content), file("d/b", "b")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for packed in [&gzip, &zstd] {
        for part in 1..32 {
            let cut = packed.len() * part / 32;
            let error = Place::new().apply(Whiteouts::Overlay, &packed[..cut]).unwrap_err();
            assert!(error.to_string().contains("truncated"), "{cut}: {error}");
        }
    }
}

#[test]
fn trailing_bytes_belong_to_the_digest() {
    let mut tar = tar_of(vec![file("a", "x")]);
    tar.extend_from_slice(&[0; 10_240]);
    let applied = Place::new().apply(Whiteouts::Overlay, &tar).unwrap();
    assert_eq!(applied.diff_id, crate::hash::Hasher::of(Algorithm::Sha256, &tar));
    assert_eq!(applied.size, tar.len() as u64);
}

/// In a mount namespace of the test's own thread, so that nothing is left whatever happens.
#[test]
fn a_full_disk_is_said_to_be_one() {
    std::thread::spawn(|| {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let place = Place::new();
        mount(
            Some("small"),
            &place.layer(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m"),
        )
        .unwrap();
        let tar = tar_of(vec![Member {
            content: vec![7; 4 << 20],
            ..file("big", "")
        }]);
        let error = place.apply(Whiteouts::Overlay, &tar).unwrap_err();
        assert_eq!(error.kind(), gantry_core::ErrorKind::ResourceExhausted, "{error}");
        assert!(error.to_string().contains("\"big\""), "{error}");
        nix::mount::umount(&place.layer()).unwrap();
    })
    .join()
    .unwrap();
}
