//! The processes of a container as the host's `ps` shows them.

use crate::error::{Result, TaskError};
use crate::shims::blocking;
use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Without arguments `ps` is asked for these.
const DEFAULT: &[&str] = &["-ef"];
const LIMIT: Duration = Duration::from_secs(10);
/// The most that is read of what `ps` prints.
const MOST: u64 = 16 * 1024 * 1024;

/// A table: the header's words, and one row per process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTable {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Runs `ps` with these arguments (none = `-ef`) and keeps the rows of these pids.
pub async fn list(arguments: Vec<String>, pids: Vec<u32>) -> Result<ProcessTable> {
    blocking("list processes", move || {
        let pids: HashSet<u32> = pids.into_iter().collect();
        let given = if arguments.is_empty() {
            DEFAULT.iter().map(|word| (*word).to_owned()).collect()
        } else {
            arguments
        };
        check(&given)?;
        table(&run(&given)?, &pids)
    })
    .await
}

/// Refuses what would rename the pid's column: rows are told by it.
fn check(arguments: &[String]) -> Result<()> {
    for word in arguments {
        for column in word.split([',', ' ']) {
            let renamed = column.trim_start_matches("-o").trim_start_matches('o').split_once('=');
            if renamed.is_some_and(|(name, title)| name.eq_ignore_ascii_case("pid") && title != "PID") {
                return Err(TaskError::PsArguments {
                    message: format!("{word:?} renames the pid column, which is needed"),
                });
            }
        }
    }
    Ok(())
}

fn run(arguments: &[String]) -> Result<String> {
    let failed = |message: String| TaskError::Ps { message };
    let mut command = Command::new("ps");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => failed("this host has no ps program (package procps)".to_owned()),
        _ => failed(error.to_string()),
    })?;
    let (said, complaint, ok) = finish(child).map_err(|error| failed(error.to_string()))?;
    if !ok {
        let complaint = if complaint.trim().is_empty() {
            "it failed".to_owned()
        } else {
            complaint
        };
        return Err(TaskError::PsArguments {
            message: complaint
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("it failed")
                .to_owned(),
        });
    }
    Ok(said)
}

/// Reads both pipes to their ends, within the limit.
fn finish(mut child: Child) -> std::io::Result<(String, String, bool)> {
    let mut stderr = child.stderr.take().expect("stderr was piped");
    let mut stdout = child.stdout.take().expect("stdout was piped").take(MOST);
    let complaints = std::thread::spawn(move || read_all(&mut stderr.by_ref().take(64 * 1024)));
    let said = std::thread::spawn(move || read_all(&mut stdout));
    let deadline = Instant::now() + LIMIT;
    while !(complaints.is_finished() && said.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    if Instant::now() >= deadline {
        child.kill()?;
    }
    let ok = child.wait()?.success();
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok((text(said), text(complaints), ok))
}

fn read_all(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before a failure is still the answer; the exit status tells whether it is whole.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last column takes the rest of the line. A row with `-` for a pid belongs to the process above it (threads).
fn table(text: &str, pids: &HashSet<u32>) -> Result<ProcessTable> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    let Some(column) = titles.iter().position(|title| title == "PID") else {
        return Err(TaskError::PsArguments {
            message: "these arguments print no PID column, by which rows are told".to_owned(),
        });
    };
    let mut rows = Vec::new();
    let mut above = false;
    for line in lines {
        let row = cut(line, titles.len());
        let Some(pid) = row.get(column) else { continue };
        above = if pid == "-" {
            above
        } else {
            pid.parse().is_ok_and(|pid| pids.contains(&pid))
        };
        if above {
            rows.push(row);
        }
    }
    Ok(ProcessTable { titles, rows })
}

fn cut(line: &str, columns: usize) -> Vec<String> {
    let mut row = Vec::with_capacity(columns);
    let mut rest = line.trim();
    while row.len() + 1 < columns && !rest.is_empty() {
        let (word, after) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
        row.push(word.to_owned());
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        row.push(rest.to_owned());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_by_pid_and_threads_follow_their_process() {
        let text = "UID  PID COMMAND\nroot 7 sh -c  a b\nroot - thread\nroot 8 other\nroot - its\n";
        let table = table(text, &HashSet::from([7])).unwrap();
        assert_eq!(table.titles, ["UID", "PID", "COMMAND"]);
        assert_eq!(
            table.rows,
            [vec!["root", "7", "sh -c  a b"], vec!["root", "-", "thread"]]
        );
    }

    #[tokio::test]
    async fn the_hosts_ps() {
        let own = std::process::id();
        let listed = list(Vec::new(), vec![own]).await.unwrap();
        assert_eq!(listed.titles[1], "PID");
        assert_eq!(listed.rows.len(), 1);
        assert_eq!(listed.rows[0][1], own.to_string());
        let own_columns = list(vec!["-o".into(), "pid,comm".into(), "-e".into()], vec![own])
            .await
            .unwrap();
        assert_eq!(own_columns.titles, ["PID", "COMMAND"]);
    }

    #[tokio::test]
    async fn what_cannot_work_is_said() {
        let error = list(vec!["-o".into(), "comm".into()], vec![1]).await.unwrap_err();
        assert!(error.to_string().contains("no PID column"), "{error}");
        let error = list(vec!["-o".into(), "pid=X".into()], vec![1]).await.unwrap_err();
        assert!(error.to_string().contains("renames the pid column"), "{error}");
        let error = list(vec!["--nosuch".into()], vec![1]).await.unwrap_err();
        assert_eq!(error.kind(), gantry_core::ErrorKind::InvalidArgument);
    }
}
