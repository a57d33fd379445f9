//! What a process reads and prints, by every road there is.

use crate::bed::Bed;
use crate::container::{Container, Make, Stdio};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

pub async fn output(bed: Arc<Bed>) {
    let script = "echo one; echo two >&2; seq 1 20000; echo last >&2";
    let one = Container::make(&bed, "output", script).await;
    let stdio = Stdio::pipes(&one.dir, "init", true);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    assert_eq!(one.wait(None).await, 0);
    one.delete().await.expect("it is deleted");
    stdio.closed().await;
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(stdio.stdout() == format!("one\n{numbers}"), "all of it, in order");
    assert_eq!(stdio.stderr(), "two\nlast\n");
    one.forget().await;
}

pub async fn stdin_and_close(bed: Arc<Bed>) {
    let one = Container::make(&bed, "cat", "cat; echo closed").await;
    let stdio = Stdio::pipes(&one.dir, "init", true);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    stdio.send("hello\n").await;
    stdio.prints("hello\n").await;
    stdio.send("again\n").await;
    stdio.prints("again\n").await;
    stdio.hang_up();
    one.close_stdin(None).await.expect("stdin is closed");
    assert_eq!(one.wait(None).await, 0);
    stdio.closed().await;
    assert_eq!(stdio.stdout(), "hello\nagain\nclosed\n");
    one.end().await;
}

pub async fn null(bed: Arc<Bed>) {
    let one = Container::run(&bed, "null", "cat && seq 1 50000 && exit 8").await;
    assert_eq!(one.wait(None).await, 8);
    one.end().await;
}

pub async fn terminal(bed: Arc<Bed>) {
    let make = Make {
        terminal: true,
        ..Make::default()
    };
    let script = "test -t 0 && test -t 2 && echo ready; read x; stty size; echo $x >&2; exit 3";
    let one = Container::with(&bed, "terminal", script, make).await;
    let stdio = Stdio::pipes(&one.dir, "init", false);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    assert!(one.process(None).await.expect("it is there").terminal);
    stdio.prints("ready\r\n").await;
    one.resize(None, 132, 43).await.expect("it is resized");
    stdio.send("typed\n").await;
    assert_eq!(one.wait(None).await, 3);
    stdio.closed().await;
    // What was typed is echoed by the terminal.
    assert_eq!(stdio.stdout(), "ready\r\ntyped\r\n43 132\r\ntyped\r\n");
    one.end().await;
}

pub async fn exec_terminal(bed: Arc<Bed>) {
    let one = Container::run(&bed, "tty", "sleep 1000").await;
    let stdio = Stdio::pipes(&one.dir, "e1", false);
    let script = "tty >/dev/null && echo ready; read x; stty size; exit 4";
    one.exec("e1", script, &stdio, true).await.expect("it is added");
    one.start(Some("e1")).await.expect("it starts");
    stdio.prints("ready\r\n").await;
    one.resize(Some("e1"), 100, 30).await.expect("it is resized");
    stdio.send("\n").await;
    assert_eq!(one.wait(Some("e1")).await, 4);
    stdio.closed().await;
    assert!(stdio.stdout().ends_with("30 100\r\n"), "{:?}", stdio.stdout());
    one.end().await;
}

/// Both streams are appended to what is there. The program ends when all is: Debian's shim closes a file that both go to with the first
/// of them.
pub async fn file(bed: Arc<Bed>) {
    let script = "trap 'exit 0' TERM; echo out; echo err >&2; while :; do sleep 0.05; done";
    let one = Container::make(&bed, "file", script).await;
    let path = one.dir.join("log");
    std::fs::write(&path, "before\n").expect("a file");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio::both(uri);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    crate::bed::until("both streams are in the file", || async {
        let log = std::fs::read_to_string(&path).ok()?;
        // Each stream has its own writer.
        ["before\nout\nerr\n", "before\nerr\nout\n"]
            .contains(&log.as_str())
            .then_some(())
    })
    .await;
    one.kill(None, 15, false).await.expect("it is told to end");
    assert_eq!(one.wait(None).await, 0);
    one.delete().await.expect("it is deleted");
    one.forget().await;
}

/// A program that is given the streams, its arguments and who they are of.
pub async fn logger(bed: Arc<Bed>) {
    let one = Container::make(&bed, "logger", "echo out; echo err >&2").await;
    let (program, log) = (one.dir.join("logger"), one.dir.join("log"));
    // The task's deletion sends it SIGTERM, and time to end.
    let text = "#!/bin/sh\n\
        trap '' TERM\n\
        echo \"$CONTAINER_NAMESPACE $CONTAINER_ID $1\" >\"$2\"\n\
        exec 5>&-\n\
        cat <&3 >>\"$2\"\n\
        cat <&4 >>\"$2\"\n\
        echo end >>\"$2\"\n";
    std::fs::write(&program, text).expect("a program");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a mode");
    let uri = format!("binary://{}?to={}", program.display(), log.display());
    let stdio = Stdio::both(uri);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    assert_eq!(one.wait(None).await, 0);
    one.delete().await.expect("it is deleted");
    let wanted = format!("{} {} to\nout\nerr\nend\n", bed.namespace, one.id);
    crate::bed::until("the logger has written all", || async {
        (std::fs::read_to_string(&log).ok()? == wanted).then_some(())
    })
    .await;
    one.forget().await;
}
