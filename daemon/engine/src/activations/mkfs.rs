//! Images of file systems that are made before they are mounted: `X-containerd.mkfs.{size,fs,uuid}=`.
//!
//! An image that is there is left as it is. One that is not gets its name when it is whole: a kill leaves nothing.

use super::failed;
use super::inside::{Place, Root, place};
use gantry_core::{Error, ErrorKind, Mount, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ftruncate, linkat, openat, statat};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PREFIX: &str = "X-containerd.mkfs.";
/// For one image.
const DEADLINE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// More than any word of a program that is worth telling.
const LONGEST: u64 = 4096;

#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    size: u64,
    program: String,
    args: Vec<String>,
}

/// Sees to it that the image is there, and takes the options away.
pub fn make(mut mount: Mount, roots: &[Root]) -> Result<Mount> {
    let image = Path::new(&mount.source);
    let place = place(roots, image, "mkfs")?;
    let wanted = parse(mount.options.iter().filter_map(|option| option.strip_prefix(PREFIX)))?;
    match statat(&place.dir, place.name, AtFlags::empty()) {
        Ok(_) => {}
        Err(Errno::NOENT) => make_image(&place, image, &wanted)?,
        Err(errno) => return Err(failed("look at", image)(errno.into())),
    }
    mount.options.retain(|option| !option.starts_with(PREFIX));
    Ok(mount)
}

fn parse<'a>(options: impl Iterator<Item = &'a str>) -> Result<Wanted> {
    let (mut size, mut kind, mut uuid) = (0, "ext4", None);
    for option in options {
        match option.split_once('=') {
            Some(("size", text)) => {
                size = bytes(text).ok_or_else(|| Error::invalid(format!("mkfs.size {text:?} is not a size")))?;
            }
            Some(("fs", name)) => kind = name,
            Some(("uuid", text)) => uuid = Some(text).filter(|text| !text.is_empty()),
            _ => return Err(Error::invalid(format!("unknown mount option {PREFIX}{option}"))),
        }
    }
    if size == 0 {
        return Err(Error::invalid("mkfs requires mkfs.size option"));
    }
    let mut args = vec!["-q".to_owned()];
    match (kind, uuid) {
        ("ext2" | "ext3" | "ext4", Some(uuid)) => args.extend(["-U".to_owned(), uuid.to_owned()]),
        ("xfs", Some(uuid)) => args.extend(["-m".to_owned(), format!("uuid={uuid}")]),
        ("ext2" | "ext3" | "ext4" | "xfs", None) => {}
        (other, _) => return Err(Error::invalid(format!("unsupported filesystem {other:?}"))),
    }
    Ok(Wanted {
        size,
        program: format!("mkfs.{kind}"),
        args,
    })
}

/// `100MiB`, `1.5g`, `4096`: units of 1024.
fn bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let whole = number.parse::<f64>().ok()? * f64::from(2_u32).powi(shift);
    // 8 EiB are more than any file system here holds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range of the type"
    )]
    (0.0..9e18).contains(&whole).then_some(whole as u64)
}

fn make_image(place: &Place<'_>, image: &Path, wanted: &Wanted) -> Result<()> {
    let failed = |deed| move |errno: Errno| failed(deed, image)(errno.into());
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    // The directory is known by its path only, and a nameless file is made in one that is open.
    let dir = openat(
        &place.dir,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed("find the directory of"))?;
    let file = openat(&dir, ".", flags, Mode::from_raw_mode(0o640)).map_err(failed("make"))?;
    ftruncate(&file, wanted.size).map_err(failed("make"))?;
    run(&file, image, wanted)?;
    rustix::fs::fsync(&file).map_err(failed("sync"))?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, nameless, &place.dir, place.name, AtFlags::SYMLINK_FOLLOW) {
        // Somebody was faster, and theirs is as good.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("name")(errno)),
    }
}

/// Runs the program on the file, which it finds among this process's.
fn run(file: &OwnedFd, image: &Path, wanted: &Wanted) -> Result<()> {
    let program = &wanted.program;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let child = Command::new(program)
        .args(&wanted.args)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!(
                "format {}: there is no {program} on this host; install it",
                image.display()
            );
            return Err(Error::precondition(text));
        }
        spawned => spawned.map_err(failed("format", image))?,
    };
    // Quiet programs fill no pipe.
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed("format", image))? {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            let text = format!(
                "format {}: {program} took longer than {} s",
                image.display(),
                DEADLINE.as_secs()
            );
            return Err(Error::new(ErrorKind::DeadlineExceeded, text));
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    let _ = child
        .stderr
        .take()
        .map(|pipe| pipe.take(LONGEST).read_to_string(&mut said));
    Err(Error::invalid(format!(
        "format {}: {program} failed: {}",
        image.display(),
        said.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(image: &Path, options: &[&str]) -> Mount {
        Mount {
            kind: "loop".to_owned(),
            source: image.display().to_string(),
            target: String::new(),
            options: options.iter().map(|option| format!("{PREFIX}{option}")).collect(),
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("1k", Some(1024)),
            ("100MiB", Some(100 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 TB", Some(2 << 40)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1x", None),
            ("9999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_image_is_made_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [Root::new(dir.path())];
        let image = dir.path().join("disk.img");
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let made = make(
            mount(&image, &["size=4MiB", "fs=ext4", &format!("uuid={uuid}")]),
            &roots,
        )
        .unwrap();
        assert!(made.options.is_empty());
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(bytes.len(), 4 << 20);
        // The superblock: magic at 0x38, uuid at 0x68.
        assert_eq!(bytes[1024 + 0x38..][..2], [0x53, 0xef]);
        assert_eq!(hex::encode(&bytes[1024 + 0x68..][..16]), uuid.replace('-', ""));
        std::fs::write(&image, "mine").unwrap();
        make(mount(&image, &["size=4MiB"]), &roots).unwrap();
        assert_eq!(std::fs::read(&image).unwrap(), b"mine", "it is left as it is");
    }

    #[test]
    fn what_cannot_be_made_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [Root::new(dir.path())];
        let image = dir.path().join("disk.img");
        for (options, kind) in [
            (&["fs=ext4"][..], ErrorKind::InvalidArgument),
            (&["size=much"], ErrorKind::InvalidArgument),
            (&["size=1MiB", "fs=ntfs"], ErrorKind::InvalidArgument),
            (&["size=1MiB", "colour=red"], ErrorKind::InvalidArgument),
            (&["size=4MiB", "uuid=nonsense"], ErrorKind::InvalidArgument),
        ] {
            let error = make(mount(&image, options), &roots).unwrap_err();
            assert_eq!(error.kind(), kind, "{options:?}: {error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{options:?}");
        }
        let error = make(mount(Path::new("/elsewhere/disk.img"), &["size=1MiB"]), &roots).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
    }
}
