use super::*;
use flate2::{Compression, write::GzEncoder};
use gantry_shim_protocol::log::{encode_line, rotated_name};
use gantry_shim_protocol::rfc3339;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

struct Log {
    dir: tempfile::TempDir,
}

fn line(text: &[u8], stream: &str, second: i64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_line(&mut out, text, stream, "", &rfc3339(second, 0));
    out
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

impl Log {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("c-json.log")
    }

    fn rotated(&self, number: u32, compressed: bool) -> PathBuf {
        PathBuf::from(rotated_name(&self.path().to_string_lossy(), number, compressed))
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// As the shim does it: every file one number up, the live one becomes 1.
    fn rotate(&self) {
        for number in (1..30).rev() {
            for compressed in [false, true] {
                let _ = fs::rename(self.rotated(number, compressed), self.rotated(number + 1, compressed));
            }
        }
        fs::rename(self.path(), self.rotated(1, false)).unwrap();
        File::create(self.path()).unwrap();
    }

    fn compress(&self, number: u32) {
        let temporary = self.dir.path().join("tmp");
        let mut encoder = GzEncoder::new(File::create(&temporary).unwrap(), Compression::fast());
        encoder
            .write_all(&fs::read(self.rotated(number, false)).unwrap())
            .unwrap();
        encoder.finish().unwrap();
        fs::rename(temporary, self.rotated(number, true)).unwrap();
        fs::remove_file(self.rotated(number, false)).unwrap();
    }

    /// 40 lines in four files, two of them compressed: seconds 0 to 39.
    fn of_four_files() -> Self {
        let log = Self::new();
        for number in 0..40 {
            let stream = if number % 2 == 0 { "stdout" } else { "stderr" };
            log.append(&line(format!("{number}\n").as_bytes(), stream, number));
            if matches!(number, 9 | 19 | 29) {
                log.rotate();
            }
        }
        log.compress(2);
        log.compress(3);
        log
    }
}

async fn collect(query: LogQuery) -> Vec<LogEntry> {
    let mut entries = read(query);
    let mut all = Vec::new();
    while let Some(entry) = entries.next().await {
        all.push(entry.unwrap());
    }
    all
}

async fn texts(query: LogQuery) -> Vec<String> {
    let all = collect(query).await;
    all.into_iter()
        .map(|entry| String::from_utf8(entry.text.to_vec()).unwrap().trim_end().to_owned())
        .collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn all_files_in_order() {
    let log = Log::of_four_files();
    assert_eq!(texts(LogQuery::all(log.path())).await, numbers(0..40));
    assert!(texts(LogQuery::all(log.dir.path().join("nosuch"))).await.is_empty());
}

#[tokio::test]
async fn the_tail_across_files() {
    let log = Log::of_four_files();
    for tail in [0, 1, 9, 10, 11, 20, 21, 25, 30, 35, 40, 41, 1000] {
        let query = LogQuery {
            tail: Some(tail),
            ..LogQuery::all(log.path())
        };
        let from = 40u32.saturating_sub(tail as u32);
        assert_eq!(texts(query).await, numbers(from..40), "tail {tail}");
    }
    let query = LogQuery {
        tail: Some(7),
        stderr: false,
        ..LogQuery::all(log.path())
    };
    assert_eq!(texts(query).await, ["26", "28", "30", "32", "34", "36", "38"]);
}

#[tokio::test]
async fn since_and_until() {
    let log = Log::of_four_files();
    for since in [0, 5, 9, 10, 25, 39] {
        let query = LogQuery {
            since: Some(at(since)),
            until: Some(at(33)),
            ..LogQuery::all(log.path())
        };
        assert_eq!(
            texts(query).await,
            numbers(since as u32..34.max(since as u32)),
            "since {since}"
        );
    }
    let query = LogQuery {
        since: Some(at(30)),
        tail: Some(20),
        ..LogQuery::all(log.path())
    };
    assert_eq!(texts(query).await, numbers(30..40));
    let query = LogQuery {
        until: Some(at(20)),
        tail: Some(3),
        ..LogQuery::all(log.path())
    };
    assert_eq!(texts(query).await, numbers(18..21));
}

#[tokio::test]
async fn since_in_a_long_file_is_found_by_halving() {
    let log = Log::new();
    let mut bytes = Vec::new();
    for number in 0..60_000 {
        bytes.extend(line(format!("{number}\n").as_bytes(), "stdout", number));
    }
    log.append(&bytes);
    let query = LogQuery {
        since: Some(at(59_990)),
        ..LogQuery::all(log.path())
    };
    assert_eq!(texts(query).await, numbers(59_990..60_000));
    let query = LogQuery {
        since: Some(at(1)),
        ..LogQuery::all(log.path())
    };
    assert_eq!(texts(query).await.len(), 59_999);
}

#[tokio::test]
async fn a_long_line_is_one_line() {
    let log = Log::new();
    log.append(&line(b"first\n", "stdout", 0));
    for piece in [&[b'x'; 16384][..], &[b'y'; 16384], b"end\n"] {
        log.append(&line(piece, "stdout", 1));
        log.append(&line(b"between\n", "stderr", 1));
    }
    let query = LogQuery {
        tail: Some(1),
        stderr: false,
        ..LogQuery::all(log.path())
    };
    let all = collect(query).await;
    assert_eq!(
        all.iter().map(|entry| entry.text.len()).collect::<Vec<_>>(),
        [16384, 16384, 4]
    );
    assert_eq!(
        all.iter().map(|entry| entry.continues).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert!(all[0].is_partial() && !all[2].is_partial());
}

#[tokio::test]
async fn torn_and_mangled_lines_cost_only_themselves() {
    let log = Log::new();
    log.append(&line(b"one\n", "stdout", 0));
    log.append(b"{\"log\":\"to");
    log.append(&line(b"two\n", "stdout", 1));
    log.append(b"nonsense\n");
    let last = line("drei \u{1f980} \"\\\t\u{0}\n".as_bytes(), "stdout", 2);
    log.append(&last[..last.len() - 1]);
    let all = collect(LogQuery::all(log.path())).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].text, "drei \u{1f980} \"\\\t\u{0}\n".as_bytes());
    log.append(b"\n{\"log\":\"half");
    let query = LogQuery {
        tail: Some(1),
        ..LogQuery::all(log.path())
    };
    assert_eq!(collect(query).await.len(), 1);
}

/// Writes numbered lines, a few at a time and cut anywhere, over many rotations and compressions.
fn write_much(log: &Log, lines: u32) {
    let mut file = OpenOptions::new().append(true).create(true).open(log.path()).unwrap();
    for number in 0..lines {
        let bytes = line(format!("{number}\n").as_bytes(), "stdout", i64::from(number));
        let (head, tail) = bytes.split_at(number as usize % bytes.len());
        file.write_all(head).unwrap();
        file.write_all(tail).unwrap();
        if number % 500 == 499 {
            log.rotate();
            log.compress(1);
            file = OpenOptions::new().append(true).open(log.path()).unwrap();
            // What a file holds must be read before it is dropped; here none is.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_loses_and_doubles_nothing_over_rotations() {
    const LINES: u32 = 12_000;
    let log = std::sync::Arc::new(Log::new());
    let (ended, follow) = channel::channel(false);
    let readers: Vec<_> = (0..4u64)
        .map(|number| {
            let mut query = LogQuery {
                follow: Some(follow.clone()),
                ..LogQuery::all(log.path())
            };
            query.tail = (number == 3).then_some(100_000);
            tokio::spawn(texts(query))
        })
        .collect();
    let writer = log.clone();
    tokio::task::spawn_blocking(move || write_much(&writer, LINES))
        .await
        .unwrap();
    ended.send(true).unwrap();
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(60), reader)
            .await
            .unwrap()
            .unwrap();
        let first = seen
            .iter()
            .zip(numbers(0..LINES))
            .position(|(seen, expected)| *seen != expected);
        assert_eq!((seen.len(), first), (LINES as usize, None));
    }
    assert_eq!(texts(LogQuery::all(log.path())).await, numbers(0..LINES));
}

#[tokio::test]
async fn a_new_line_comes_at_once_and_the_end_ends_it() {
    let log = Log::new();
    log.append(&line(b"old\n", "stdout", 0));
    let (ended, follow) = channel::channel(false);
    let mut entries = read(LogQuery {
        tail: Some(0),
        follow: Some(follow),
        ..LogQuery::all(log.path())
    });
    let nothing = tokio::time::timeout(Duration::from_millis(200), entries.next()).await;
    assert!(nothing.is_err(), "the old line is not asked for");
    log.append(&line(b"new\n", "stdout", 1));
    let next = tokio::time::timeout(Duration::from_secs(5), entries.next())
        .await
        .unwrap();
    assert_eq!(next.unwrap().unwrap().text, "new\n");
    // A half line is nothing yet.
    let whole = line(b"later\n", "stdout", 2);
    log.append(&whole[..20]);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), entries.next())
            .await
            .is_err()
    );
    log.append(&whole[20..]);
    ended.send(true).unwrap();
    let next = tokio::time::timeout(Duration::from_secs(5), entries.next())
        .await
        .unwrap();
    assert_eq!(next.unwrap().unwrap().text, "later\n");
    let end = tokio::time::timeout(Duration::from_secs(5), entries.next())
        .await
        .unwrap();
    assert!(end.is_none());
}

#[tokio::test]
async fn following_ends_at_the_last_moment_asked_for() {
    let log = Log::new();
    log.append(&line(b"x\n", "stdout", 0));
    let (_ended, follow) = channel::channel(false);
    let until = SystemTime::now() + Duration::from_millis(200);
    let query = LogQuery {
        follow: Some(follow),
        until: Some(until),
        ..LogQuery::all(log.path())
    };
    let seen = tokio::time::timeout(Duration::from_secs(10), texts(query))
        .await
        .unwrap();
    assert_eq!(seen, ["x"]);
}

#[test]
fn a_file_found_under_two_names_is_read_once() {
    let log = Log::new();
    log.append(&line(b"a\n", "stdout", 0));
    log.rotate();
    let held = files::newer_than(&log.path(), None).unwrap();
    assert_eq!(held.len(), 2);
    // The reader holds the plain file that is compressed now.
    log.compress(1);
    let newer = files::newer_than(&log.path(), held.first()).unwrap();
    assert_eq!(newer.len(), 1, "only the live file is newer");
    assert!(Path::new(&log.rotated(1, true)).exists());
}
