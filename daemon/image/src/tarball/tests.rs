use super::*;
use std::process::Command;

fn all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut content = vec![0; usize::try_from(entry.size).unwrap()];
        reader.content(&entry, |offset, bytes| {
            let at = usize::try_from(offset).unwrap();
            content[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })?;
        found.push((entry, content));
    }
    Ok(found)
}

/// The host's tar as judge: every format it writes is read back.
#[test]
fn what_gnu_tar_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    std::fs::create_dir(dir.path().join("d".repeat(120))).unwrap();
    std::fs::write(dir.path().join(&long), "long").unwrap();
    let mut holes = vec![0u8; 3 << 20];
    holes[1 << 20] = 7;
    holes[(2 << 20) + 5] = 9;
    std::fs::write(dir.path().join("holes"), &holes).unwrap();
    let dig = Command::new("fallocate")
        .arg("-d")
        .arg(dir.path().join("holes"))
        .status()
        .unwrap();
    assert!(dig.success());
    std::os::unix::fs::symlink("l".repeat(150), dir.path().join("link")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ] {
        let out = Command::new("tar")
            .args(format)
            .arg("-C")
            .arg(dir.path())
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        assert!(out.status.success());
        let found = all(&out.stdout).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let get = |name: &str| {
            let path = format!("./{name}");
            found
                .iter()
                .find(|(e, _)| e.path == path.as_bytes())
                .unwrap_or_else(|| panic!("{format:?} {name}"))
        };
        assert_eq!(get(&long).1, b"long", "{format:?}");
        assert_eq!(get("holes").1, holes, "{format:?}");
        assert_eq!(get("link").0.link, "l".repeat(150).as_bytes(), "{format:?}");
        assert_eq!(found.len(), 5, "{format:?}");
    }
}

fn sample() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(700);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    builder.append_data(&mut header, "file", &[5u8; 700][..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn every_cut_and_every_flipped_header_byte_is_noticed_or_harmless() {
    let good = sample();
    for cut in 1..512 + 700 {
        let error = all(&good[..cut]).expect_err("cut short");
        assert!(matches!(error, ImageError::Truncated { .. }), "{cut}: {error}");
    }
    for at in 0..512 {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        assert!(all(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_huge_extension_header_is_refused_before_it_is_read() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(8 << 30);
    header.set_cksum();
    let endless = header.as_bytes().chain(io::repeat(b'a'));
    let error = TarReader::new(endless).next().unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Limit {
                limit: "header-bytes",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn many_extension_headers_of_one_member_are_refused() {
    let one = |size: usize| {
        let record = |length: usize| format!("{length} SCHILY.xattr.user.a={}\n", "v".repeat(size));
        let length = (record(0).len()..)
            .find(|length| record(*length).len() == *length)
            .unwrap();
        let record = record(length);
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(record.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    };
    for (size, limit) in [(300 << 10, "header-bytes"), (1, "headers")] {
        let endless = one(size).repeat(80);
        let Err(ImageError::Limit { limit: met, .. }) = TarReader::new(&endless[..]).next() else {
            panic!("{limit} is bounded");
        };
        assert_eq!(met, limit);
    }
    let fine = [one(300 << 10).repeat(3), sample()].concat();
    assert_eq!(all(&fine).unwrap()[0].0.xattrs.len(), 3);
}
