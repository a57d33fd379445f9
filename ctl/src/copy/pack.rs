//! Makes a tar stream of a host path under another name.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// Writes `source` to `to` as `name`; with `.` as name only what is in it. `follow` looks behind a link that `source` itself is.
pub(crate) fn pack(source: &Path, name: &str, follow: bool, to: impl Write) -> Result<u64, String> {
    let mut builder = Builder::new(to);
    builder.follow_symlinks(false);
    let meta = if follow {
        fs::metadata(source)
    } else {
        fs::symlink_metadata(source)
    };
    let meta = meta.map_err(|err| format!("read {}: {err}", source.display()))?;
    let mut bytes = 0;
    if name == "." && meta.is_dir() {
        children(&mut builder, source, Path::new(""), &mut bytes)?;
    } else {
        node(&mut builder, source, Path::new(name), &meta, &mut bytes)?;
    }
    builder.finish().map_err(|err| format!("send archive: {err}"))?;
    Ok(bytes)
}

fn children(builder: &mut Builder<impl Write>, dir: &Path, name: &Path, bytes: &mut u64) -> Result<(), String> {
    let fail = |err: std::io::Error| format!("read {}: {err}", dir.display());
    let mut names = fs::read_dir(dir)
        .map_err(fail)?
        .map(|it| it.map(|it| it.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    names.sort_unstable();
    for child in names {
        let path = dir.join(&child);
        match fs::symlink_metadata(&path) {
            Ok(meta) => node(builder, &path, &name.join(&child), &meta, bytes)?,
            // It went away meanwhile.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(format!("read {}: {err}", path.display())),
        }
    }
    Ok(())
}

fn node(
    builder: &mut Builder<impl Write>,
    path: &Path,
    name: &Path,
    meta: &fs::Metadata,
    bytes: &mut u64,
) -> Result<(), String> {
    let fail = |err: std::io::Error| format!("read {}: {err}", path.display());
    let kind = meta.file_type();
    let mut header = Header::new_gnu();
    header.set_metadata(meta);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, name, std::io::empty()).map_err(fail)?;
        return children(builder, path, name, bytes);
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        let to = fs::read_link(path).map_err(fail)?;
        return builder.append_link(&mut header, name, to).map_err(fail);
    }
    if kind.is_file() {
        let file = fs::File::open(path).map_err(fail)?;
        let size = meta.len();
        *bytes += size;
        header.set_size(size);
        // A file that grows meanwhile is cut, one that shrinks is filled up, so that the archive stays whole.
        let body = std::io::Read::take(std::io::Read::chain(file, std::io::repeat(0)), size);
        return builder.append_data(&mut header, name, body).map_err(fail);
    }
    header.set_size(0);
    if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
    } else if kind.is_char_device() || kind.is_block_device() {
        let entry = if kind.is_char_device() {
            EntryType::Char
        } else {
            EntryType::Block
        };
        header.set_entry_type(entry);
        header.set_device_major(rustix::fs::major(meta.rdev())).map_err(fail)?;
        header.set_device_minor(rustix::fs::minor(meta.rdev())).map_err(fail)?;
    } else {
        // A socket is nothing without its process.
        return Ok(());
    }
    builder.append_data(&mut header, name, std::io::empty()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Extractor;

    #[test]
    fn what_is_packed_comes_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("src");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/file"), "hello").unwrap();
        std::os::unix::fs::symlink("sub/file", source.join("link")).unwrap();
        let long = "x".repeat(150);
        fs::write(source.join(&long), "l").unwrap();
        let mut bytes = Vec::new();
        assert_eq!(pack(&source, "renamed", false, &mut bytes).unwrap(), 6);
        let root = dir.path().join("out");
        Extractor::new(root.clone(), true).run(bytes.as_slice()).unwrap();
        assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(root.join(&long)).unwrap(), "l");
    }

    #[test]
    fn contents_and_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
        let names = |source: &Path, name: &str, follow: bool| {
            let mut bytes = Vec::new();
            pack(source, name, follow, &mut bytes).unwrap();
            let mut archive = tar::Archive::new(bytes.as_slice());
            let entries = archive.entries().unwrap().map(|it| it.unwrap());
            entries
                .map(|it| (it.path().unwrap().display().to_string(), it.header().entry_type()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(dir.path(), ".", false),
            [("f".into(), EntryType::Regular), ("l".into(), EntryType::Symlink)]
        );
        assert_eq!(
            names(&dir.path().join("l"), "n", false),
            [("n".into(), EntryType::Symlink)]
        );
        assert_eq!(
            names(&dir.path().join("l"), "n", true),
            [("n".into(), EntryType::Regular)]
        );
        assert!(
            pack(Path::new("/no/such"), "n", false, Vec::new())
                .unwrap_err()
                .starts_with("read /no/such")
        );
    }
}
