use super::*;
use crate::testing::{listing, run};
use crate::unpack::{Limits, apply};
use gantry_core::Algorithm;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Runs in a mount namespace of its own thread: nothing is left whatever happens.
fn in_private(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        work();
    })
    .join()
    .unwrap();
}

fn overlay(options: &str, at: &Path) {
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("overlay"), at, Some("overlay"), flags, Some(options)).unwrap();
}

struct Tree(tempfile::TempDir);

impl Drop for Tree {
    /// A tree that is still mounted cannot be removed, and its removal would fail in silence.
    fn drop(&mut self) {
        // Not detached: a filesystem that is going down by itself works in its directories until it is gone. A program that another
        // test starts at this moment holds what is open here until it runs.
        let begun = std::time::Instant::now();
        for mounted in ["merged", "base"] {
            while nix::mount::umount(&self.at(mounted)) == Err(nix::errno::Errno::EBUSY)
                && begun.elapsed() < std::time::Duration::from_secs(10)
            {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

impl Tree {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Two layers, and over them a container that did a bit of everything.
    fn lived_in() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for dir in ["low", "mid", "upper", "work", "merged", "base"] {
            fs::create_dir(tree.at(dir)).unwrap();
        }
        for dir in [
            "low/etc",
            "low/old/sub",
            "low/quiet/deep",
            "mid/etc",
            "low/gone",
            "low/changed",
        ] {
            fs::create_dir_all(tree.at(dir)).unwrap();
        }
        for file in [
            "low/etc/passwd",
            "low/etc/hosts",
            "mid/etc/mid",
            "low/old/sub/x",
            "low/quiet/deep/f",
            "low/gone/x",
            "low/file",
        ] {
            fs::write(tree.at(file), file).unwrap();
        }
        let (low, mid) = (tree.at("low"), tree.at("mid"));
        let lower = format!("lowerdir={}:{}", mid.display(), low.display());
        overlay(&lower, &tree.at("base"));
        let upper = format!(
            "{lower},upperdir={},workdir={},index=off",
            tree.at("upper").display(),
            tree.at("work").display()
        );
        overlay(&upper, &tree.at("merged"));
        let merged = tree.at("merged");
        fs::write(merged.join("etc/passwd"), "changed content").unwrap();
        fs::remove_file(merged.join("etc/mid")).unwrap();
        fs::remove_dir_all(merged.join("gone")).unwrap();
        fs::remove_dir_all(merged.join("old")).unwrap();
        fs::create_dir(merged.join("old")).unwrap();
        fs::write(merged.join("old/new"), "new").unwrap();
        fs::set_permissions(merged.join("changed"), PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(merged.join("quiet/deep/f"), "only this one changed").unwrap();
        fs::create_dir(merged.join("added")).unwrap();
        let long = format!("added/{}", "n".repeat(200));
        fs::write(merged.join(&long), "long").unwrap();
        fs::hard_link(merged.join(&long), merged.join("added/linked")).unwrap();
        symlink("../etc/passwd", merged.join("added/link")).unwrap();
        run("mknod", &[merged.join("added/dev").to_str().unwrap(), "c", "1", "3"]);
        run("mkfifo", &[merged.join("added/pipe").to_str().unwrap()]);
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0];
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(merged.join("added/linked"), "security.capability", &capability, flags).unwrap();
        fs::remove_file(merged.join("file")).unwrap();
        fs::create_dir(merged.join("file")).unwrap();
        tree
    }

    fn overlay_sides(&self) -> Sides {
        let target = ApplyTarget {
            dir: self.at("upper"),
            whiteouts: Whiteouts::Overlay,
            lower: vec![self.at("mid"), self.at("low")],
        };
        Sides::new(target, None)
    }
}

fn lines(changes: &[Change]) -> Vec<String> {
    let shown = |change: &Change| format!("{} {}", change.kind.letter(), change.path.display());
    changes
        .iter()
        .map(shown)
        .map(|line| line.replace(&"n".repeat(200), "LONG"))
        .collect()
}

#[test]
fn changes_are_told_alike_from_both_kinds_of_snapshots() {
    in_private(|| {
        let tree = Tree::lived_in();
        let common = [
            "A /added",
            "A /added/dev",
            "A /added/link",
            "A /added/linked",
            "A /added/LONG",
            "A /added/pipe",
            "C /changed",
            "C /etc",
            "D /etc/mid",
            "C /etc/passwd",
            "C /file",
            "D /gone",
            "C /old",
            "A /old/new",
            "C /quiet/deep/f",
        ];
        let from_overlay = lines(&changes(&tree.overlay_sides()).unwrap());
        assert_eq!(from_overlay, common);
        let trees = Sides::trees(&tree.at("merged"), &tree.at("base"));
        let from_trees = lines(&changes(&trees).unwrap());
        // An opaque directory does not say what it hides.
        let mut with_hidden = common.to_vec();
        with_hidden.insert(14, "D /old/sub");
        assert_eq!(from_trees, with_hidden);
    });
}

/// What is below a root, whose own time no layer tells.
fn below(root: &Path) -> String {
    let lines = listing(root);
    let below = lines.lines().filter(|line| !line.starts_with('|'));
    below.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_layer_makes_the_same_changes_again() {
    in_private(|| {
        let tree = Tree::lived_in();
        let trees = Sides::trees(&tree.at("merged"), &tree.at("base"));
        for sides in [tree.overlay_sides(), trees] {
            let mut layer = Vec::new();
            write_layer(&sides, &mut layer).unwrap();
            let mut again = Vec::new();
            write_layer(&sides, &mut again).unwrap();
            assert_eq!(layer, again, "equal trees give equal layers");
            let copy = tree.at("copy");
            run("cp", &["-a", tree.at("base").to_str().unwrap(), copy.to_str().unwrap()]);
            let target = |dir: PathBuf, whiteouts| ApplyTarget {
                dir,
                whiteouts,
                lower: Vec::new(),
            };
            apply(
                &layer[..],
                &target(copy.clone(), Whiteouts::Plain),
                &Limits::default(),
                Algorithm::Sha256,
                |_| {},
            )
            .unwrap();
            assert_eq!(below(&copy), below(&tree.at("merged")));
            let mut value = [0; 64];
            let length =
                rustix::fs::getxattr(copy.join("added/linked"), "security.capability", &mut value[..]).unwrap();
            assert_eq!(length, 20);
            fs::remove_dir_all(&copy).unwrap();
            // The same over the layers, as overlayfs merges them.
            let (fresh, view) = (tree.at("fresh"), tree.at("view"));
            fs::create_dir(&fresh).unwrap();
            fs::create_dir(&view).unwrap();
            apply(
                &layer[..],
                &target(fresh.clone(), Whiteouts::Overlay),
                &Limits::default(),
                Algorithm::Sha256,
                |_| {},
            )
            .unwrap();
            let (mid, low) = (tree.at("mid"), tree.at("low"));
            overlay(
                &format!("lowerdir={}:{}:{}", fresh.display(), mid.display(), low.display()),
                &view,
            );
            assert_eq!(below(&view), below(&tree.at("merged")));
            nix::mount::umount(&view).unwrap();
            fs::remove_dir_all(&fresh).unwrap();
            fs::remove_dir(&view).unwrap();
            // The host's tar reads it too.
            fs::write(tree.at("layer.tar"), &layer).unwrap();
            let names = run("tar", &["-tf", tree.at("layer.tar").to_str().unwrap()]);
            assert!(
                names.contains("etc/.wh.mid\n") && names.contains(".wh.gone\n"),
                "{names}"
            );
            let parent = names.find("quiet/deep/\n").expect("parents come along");
            assert!(parent < names.find("quiet/deep/f\n").unwrap());
        }
    });
}
