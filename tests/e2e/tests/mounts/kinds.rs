//! What is mounted for whom.

use crate::bed::{Bed, FILE, is_mounted, mount, with_system};
use gantry_e2e::loops;
use gantry_proto_containerd::types::Mount;
use std::fs;
use std::os::unix::fs::MetadataExt;
use tonic::Code;

#[test]
fn what_the_caller_can_mount_itself_is_left_to_it() {
    let bed = Bed::new();
    let dir = bed.dir("plain");
    let overlay = mount("overlay", "overlay", &["lowerdir=/a:/b"]);
    for mounts in [
        vec![],
        vec![mount("bind", &dir, &["rbind", "ro"])],
        vec![overlay],
        vec![mount("bind", &dir, &["rbind"]), mount("who/knows", &dir, &[])],
    ] {
        let refused = bed.activate("left", &mounts).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    }
    assert_eq!(bed.info("left").unwrap_err().code(), Code::NotFound);
    assert!(bed.is_clean());
}

#[test]
fn an_overlay_over_images_that_are_made_and_mounted_before_it() {
    let bed = Bed::new();
    let disk = bed.house.data_root().join("disk.img");
    let mounts = [
        mount("erofs", bed.erofs("lower"), &["ro"]),
        mount(
            "mkfs/loop",
            &disk,
            &["X-containerd.mkfs.size=8MiB", "X-containerd.mkfs.fs=ext4"],
        ),
        mount("format/ext4", "{{ mount 1 }}", &[]),
        mount(
            "format/mkdir/overlay",
            "overlay",
            &[
                "X-containerd.mkdir.path={{ mount 2 }}/upper:0751:7:8",
                "X-containerd.mkdir.path={{ mount 2 }}/work",
                "lowerdir={{ mount 0 }}",
                "upperdir={{ mount 2 }}/upper",
                "workdir={{ mount 2 }}/work",
            ],
        ),
    ];
    let info = bed.activate("overlaid", &mounts).unwrap();
    let kinds: Vec<&str> = info
        .active
        .iter()
        .map(|one| one.mount.as_ref().unwrap().r#type.as_str())
        .collect();
    assert_eq!(kinds, ["erofs", "loop", "ext4"]);
    let [lower, device, upper] = [0, 1, 2].map(|at| info.active[at].mount_point.clone());
    assert!(info.active.iter().all(|one| one.mounted_at.is_some()));
    assert!(is_mounted(&lower) && is_mounted(&upper));
    assert!(
        fs::read_link(&device).unwrap().starts_with("/dev"),
        "a device, and not what is on it"
    );
    let loops = loops::behind(bed.house.root());
    assert!(loops.contains(&disk), "{loops:?}");
    let expected = Mount {
        r#type: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options: vec![
            format!("lowerdir={lower}"),
            format!("upperdir={upper}/upper"),
            format!("workdir={upper}/work"),
        ],
    };
    assert_eq!(info.system, [expected]);
    let meta = fs::metadata(format!("{upper}/upper")).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o751, 7, 8));
    with_system(&bed, &info, |root| {
        assert_eq!(fs::read_to_string(root.join(FILE)).unwrap(), "lower");
        fs::write(root.join("written"), "kept").unwrap();
    });
    assert_eq!(bed.info("overlaid").unwrap(), info);
    bed.deactivate("overlaid").unwrap();
    bed.clean();
    // The disk is the client's, and is made once.
    let info = bed.activate("overlaid", &mounts).unwrap();
    with_system(&bed, &info, |root| {
        assert_eq!(fs::read_to_string(root.join("written")).unwrap(), "kept");
    });
    bed.deactivate("overlaid").unwrap();
    bed.clean();
}

#[test]
fn layers_of_an_overlay_by_their_numbers() {
    let bed = Bed::new();
    let layers = ["first", "second", "third"].map(|name| mount("bind", bed.dir(name), &["rbind", "ro"]));
    for (range, seen) in [("0 2", "first"), ("2 0", "third"), ("1 2", "second")] {
        let option = format!("lowerdir={{{{ overlay {range} }}}}");
        let mut mounts = layers.to_vec();
        mounts.push(mount("format/overlay", "overlay", &[&option]));
        let info = bed.activate("layers", &mounts).unwrap();
        assert_eq!((info.active.len(), info.system.len()), (3, 1));
        with_system(&bed, &info, |root| {
            assert_eq!(fs::read_to_string(root.join("from")).unwrap(), seen);
        });
        bed.deactivate("layers").unwrap();
    }
    assert!(bed.is_clean());
}

#[test]
fn what_is_mounted_for_a_while_is_mounted_whole() {
    let bed = Bed::new();
    let mounts = [
        mount("bind", bed.dir("below"), &["rbind", "ro"]),
        mount("erofs", bed.erofs("image"), &["ro", "loop"]),
        mount("format/overlay", "overlay", &["lowerdir={{ mount 1 }}:{{ mount 0 }}"]),
    ];
    let info = bed.temporary("whole", &mounts).unwrap();
    assert_eq!(info.active.len(), 3);
    let top = &info.active[2].mount_point;
    let bind = mount("bind", top, &["rbind"]);
    assert_eq!(info.system, [bind]);
    assert_eq!(fs::read_to_string(format!("{top}/{FILE}")).unwrap(), "image");
    assert_eq!(fs::read_to_string(format!("{top}/from")).unwrap(), "below");
    with_system(&bed, &info, |root| {
        assert_eq!(fs::read_to_string(root.join("from")).unwrap(), "below");
    });
    bed.deactivate("whole").unwrap();
    bed.clean();
}

#[test]
fn a_file_over_a_loop_device_of_its_mount() {
    let bed = Bed::new();
    let disk = bed.house.data_root().join("disk.img");
    let size = "X-containerd.mkfs.size=8MiB";
    let made = bed
        .temporary("disk", &[mount("mkfs/ext4", &disk, &[size, "loop"])])
        .unwrap();
    fs::write(format!("{}/file", made.active[0].mount_point), "written").unwrap();
    bed.deactivate("disk").unwrap();
    bed.clean();
    let read = bed.temporary("disk", &[mount("ext4", &disk, &["loop", "ro"])]).unwrap();
    let file = format!("{}/file", read.active[0].mount_point);
    assert_eq!(fs::read_to_string(&file).unwrap(), "written");
    assert!(fs::write(&file, "again").is_err(), "it is mounted to be read");
    bed.deactivate("disk").unwrap();
    bed.clean();
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    let bed = Bed::new();
    let (image, dir) = (bed.erofs("good"), bed.dir("dir"));
    let good = || mount("erofs", &image, &["ro"]);
    let made = |path: &str| format!("X-containerd.mkdir.path={path}");
    let outside = made("/elsewhere");
    let odd = made(&format!("{}/x:rwx", bed.house.data_root().display()));
    let disk = bed.house.data_root().join("disk.img");
    for (mounts, code) in [
        (
            vec![good(), mount("format/bind", "{{ mount 1 }}", &[])],
            Code::InvalidArgument,
        ),
        (
            vec![good(), mount("format/bind", "{{ mount", &[])],
            Code::InvalidArgument,
        ),
        (
            vec![good(), mount("mkdir/bind", &dir, &[&outside])],
            Code::Unimplemented,
        ),
        (vec![good(), mount("mkdir/bind", &dir, &[&odd])], Code::InvalidArgument),
        (vec![good(), mount("mkfs/loop", &disk, &[])], Code::InvalidArgument),
        (
            vec![
                good(),
                mount(
                    "mkfs/loop",
                    &disk,
                    &["X-containerd.mkfs.size=1MiB", "X-containerd.mkfs.fs=fat"],
                ),
            ],
            Code::InvalidArgument,
        ),
        (
            vec![good(), mount("loop", bed.house.root().join("missing"), &[])],
            Code::NotFound,
        ),
        (vec![good(), mount("loop", &dir, &[])], Code::InvalidArgument),
        (
            vec![good(), mount("erofs", dir.join("from"), &[])],
            Code::InvalidArgument,
        ),
        (
            vec![good(), mount("erofs", &image, &["X-containerd.dmverity=/meta"])],
            Code::Unimplemented,
        ),
        (vec![mount("no-such-type", &dir, &[]), good()], Code::InvalidArgument),
        (
            vec![good(), mount("bind", dir.join("missing"), &["rbind"]), good()],
            Code::NotFound,
        ),
        (vec![good(); 256], Code::InvalidArgument),
    ] {
        let refused = bed.activate("bad", &mounts).unwrap_err();
        let what = format!("{:?}", mounts.last());
        assert_eq!(refused.code(), code, "{what}: {refused}");
        assert_eq!(bed.info("bad").unwrap_err().code(), Code::NotFound, "{what}");
        bed.clean();
    }
    assert!(!disk.exists());
    let refused = bed.activate("", &[good()]).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    // The name is free.
    bed.activate("bad", &[good()]).unwrap();
    bed.deactivate("bad").unwrap();
}
