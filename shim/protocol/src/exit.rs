//! The record of an exit: written (temporary file, fsync, rename, fsync of the directory) before anyone is told.

use serde::{Deserialize, Serialize};

/// How one process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitRecord {
    pub container: String,
    /// Empty for the container's first process.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exec: String,
    pub pid: u32,
    /// Exit code, or 128 + signal number.
    pub status: u32,
    /// RFC 3339 with nanoseconds, UTC.
    pub exited_at: String,
    pub boot_id: String,
    /// Ticks since boot at which the process began; 0 when it was never seen alive.
    pub start_time: u64,
    pub oom_killed: bool,
    /// Memory kills that the container's run saw; 0 of an exec.
    pub memory_kills: u64,
}

/// Name of the record's file in the state directory.
pub fn exit_file_name(exec: Option<&str>) -> String {
    match exec {
        None | Some("") => "exit.json".to_owned(),
        Some(exec) => format!("exit-{exec}.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_reads_as_documented() {
        let record = ExitRecord {
            container: "c".into(),
            pid: 7,
            status: 137,
            exited_at: "2026-01-02T03:04:05.000000006Z".into(),
            boot_id: "b".into(),
            start_time: 9,
            oom_killed: true,
            memory_kills: 2,
            ..ExitRecord::default()
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"container":"c","pid":7,"status":137,"exited_at":"2026-01-02T03:04:05.000000006Z","boot_id":"b","start_time":9,"oom_killed":true,"memory_kills":2}"#
        );
        assert_eq!(serde_json::from_str::<ExitRecord>(&text).unwrap(), record);
        assert_eq!(exit_file_name(Some("e1")), "exit-e1.json");
    }
}
