//! The test image: busybox from Debian's busybox-static, as a root filesystem tar.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Applets that tests use.
const APPLETS: &[&str] = &[
    "sh",
    "ash",
    "cat",
    "echo",
    "ls",
    "sleep",
    "true",
    "false",
    "stty",
    "id",
    "env",
    "printf",
    "dd",
    "head",
    "tail",
    "wc",
    "mkdir",
    "rm",
    "touch",
    "ps",
    "kill",
    "mount",
    "umount",
    "hostname",
    "stat",
    "sha256sum",
    "seq",
    "test",
    "ip",
    "ping",
    "nslookup",
    "ln",
    "chmod",
    "chown",
    "mv",
    "cp",
    "grep",
    "sed",
    "awk",
    "tr",
    "cut",
    "sort",
    "yes",
    "date",
    "pwd",
    "uname",
    "nproc",
    "tty",
    "find",
    "tar",
    "du",
    "sync",
    "od",
    "md5sum",
    "nc",
    "wget",
    "httpd",
    "timeout",
    "mkfifo",
    "setsid",
    "nohup",
];

/// A tar of a small root filesystem: busybox and its links, `/etc/passwd` with root, nobody and app, and `/tmp`.
pub fn busybox_tar() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(make)
}

fn make() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("/bin/busybox of Debian's busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    for dir in ["bin", "etc", "dev", "proc", "sys", "tmp", "root", "home", "var", "usr"] {
        let mode = if dir == "tmp" { 0o1777 } else { 0o755 };
        append(&mut tar, &format!("{dir}/"), tar::EntryType::Directory, mode, &[]);
    }
    append(&mut tar, "bin/busybox", tar::EntryType::Regular, 0o755, &busybox);
    for applet in APPLETS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")
            .expect("writing to memory");
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000::/home:/bin/sh\n";
    append(
        &mut tar,
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        passwd.as_bytes(),
    );
    append(
        &mut tar,
        "etc/group",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:\nnogroup:x:65534:\napp:x:1000:\nextra:x:2000:app\n",
    );
    tar.into_inner().expect("writing to memory")
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size as u64);
    header
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
    let mut header = header(kind, mode, content.len());
    tar.append_data(&mut header, path, content).expect("writing to memory");
}

/// Runs a command with `input` on its stdin and answers its stdout; fails with its stderr.
pub(crate) fn pipe(mut command: Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    let wrote = writer.join().expect("the writer ends");
    assert!(
        output.status.success(),
        "{command:?}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    wrote.expect("the command reads its input");
    output.stdout
}
