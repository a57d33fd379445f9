//! Images.

use crate::sides::{IMAGE, Sides};

#[test]
fn images_answer_alike() {
    let s = &Sides::new();
    s.same(&["images", "-q", "--no-trunc"]);
    s.same(&["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"]);
    s.same(&["images", "--filter", "reference=busy*", "--format", "{{.Repository}}"]);
    s.same(&["images", "--filter", "dangling=true", "-q"]);
    s.same(&["images", "--filter", "odd=1"]);
    s.same(&["tag", IMAGE, "mine:1"]);
    s.same(&["tag", IMAGE, "host.example:5000/a/b:2"]);
    s.same(&["tag", IMAGE, "Upper"]);
    s.same(&["tag", "nothing", "mine:2"]);
    s.sorted(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    s.same(&[
        "image",
        "inspect",
        "-f",
        "{{.Os}} {{.Architecture}} {{.RepoTags}}",
        "mine:1",
    ]);
    s.json(&["image", "inspect", "mine:1"]);
    s.code(&["image", "inspect", "nothing"]);
    s.same(&["history", "--format", "{{.ID}} {{.Comment}}", "mine:1"]);
    s.same(&["history", "nothing"]);
    s.same(&["rmi", "mine:1"]);
    s.same(&["rmi", "mine:1"]);
    s.same(&["rmi", "host.example:5000/a/b:2"]);
    s.same(&["run", "--name", "user", IMAGE, "true"]);
    s.code(&["rmi", IMAGE]);
    s.same(&["rm", "user"]);
    s.same(&["save", "-o", "out.tar", IMAGE]);
    s.code(&["save", "-o", "other.tar", "nothing"]);
    s.removed(&["rmi", IMAGE]);
    s.same(&["images", "-q"]);
    s.same(&["load", "-i", "out.tar"]);
    s.same(&["load", "-q", "-i", "out.tar"]);
    s.same(&["images", "-q"]);
    s.same(&["load", "-i", "nothing.tar"]);
    s.code(&["pull", "127.0.0.1:1/nothing:1"]);
    s.code(&["pull", "UPPER"]);
    s.fed(&["import", "-", "made:1"], gantry_e2e::busybox_tar());
    s.same(&["run", "--rm", "made:1", "echo", "from an import"]);
    s.fed(
        &["import", "-c", "CMD echo preset", "-m", "words", "-", "made:2"],
        gantry_e2e::busybox_tar(),
    );
    s.same(&["run", "--rm", "made:2"]);
    s.same(&["image", "inspect", "-f", "{{.Comment}} {{.Config.Cmd}}", "made:2"]);
    s.removed(&["image", "rm", "made:1", "--force"]);
    s.same(&["run", "--name", "base", IMAGE, "sh", "-c", "echo new > /new"]);
    s.same(&[
        "commit",
        "-a",
        "me",
        "-m",
        "words",
        "-c",
        "CMD cat /new",
        "base",
        "committed:1",
    ]);
    s.same(&["run", "--rm", "committed:1"]);
    s.same(&[
        "image",
        "inspect",
        "-f",
        "{{.Author}} {{.Comment}} {{.Config.Cmd}} {{len .RootFS.Layers}}",
        "committed:1",
    ]);
    for side in [&s.ours, &s.theirs] {
        let of = |field: &str, image: &str| side.run(&["image", "inspect", "-f", field, image]).stdout;
        let (parent, base) = (of("{{.Parent}}", "committed:1"), of("{{.Id}}", IMAGE));
        assert_eq!(String::from_utf8_lossy(&parent), String::from_utf8_lossy(&base));
    }
    s.same(&["commit", "nothing", "committed:2"]);
    s.same(&["rm", "base"]);
    s.code(&["image", "prune", "-f"]);
    s.same(&["image", "prune", "-a", "-f", "--filter", "label=none"]);
}
