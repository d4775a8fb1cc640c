//! What the generated repositories hold, and that they never change.

use super::*;

#[test]
fn the_hard_repository_holds_every_case_it_promises() {
    let rig = Rig::new();
    let repository = rig.hard(COMMITS);
    let commits = repository.history("HEAD", None).unwrap().commits;
    let changes: Vec<&Change> = commits.iter().flat_map(|commit| &commit.changes).collect();
    let modes: BTreeSet<_> = changes
        .iter()
        .map(|change| (change.before.map(|s| s.mode), change.after.map(|s| s.mode)))
        .collect();
    let (file, program, link, module) = (Mode::Regular, Mode::Executable, Mode::Symlink, Mode::Submodule);
    for (before, after) in [
        (file, program),
        (program, file),
        (file, link),
        (link, file),
        (link, link),
        (module, module),
    ] {
        assert!(modes.contains(&(Some(before), Some(after))), "{before} to {after}");
    }
    for mode in [file, program, link, module] {
        assert!(modes.contains(&(None, Some(mode))) || mode == program, "{mode} appears");
        assert!(modes.contains(&(Some(mode), None)) || mode == link, "{mode} disappears");
    }
    assert!(
        commits.iter().filter(|commit| commit.changes.is_empty()).count() > COMMITS / 20,
        "empty commits"
    );
    let hot = changes.iter().filter(|change| change.path == b"hot.txt").count();
    assert!(
        (COMMITS / 4..COMMITS * 7 / 20).contains(&hot),
        "{hot} changes of the hot file"
    );
    assert!(
        changes
            .iter()
            .filter(|change| std::str::from_utf8(&change.path).is_err())
            .count()
            > 5
    );
    for byte in b" \"'\n\t%\\" {
        assert!(
            changes.iter().any(|change| change.path.contains(byte)),
            "{:?} in a name",
            char::from(*byte)
        );
    }
    let merges = rig.git(&[
        "-C",
        "hard",
        "rev-list",
        "--first-parent",
        "--count",
        "--merges",
        "HEAD",
    ]);
    let three_parents = rig.git(&[
        "-C",
        "hard",
        "rev-list",
        "--first-parent",
        "--count",
        "--min-parents=3",
        "HEAD",
    ]);
    assert!(merges.parse::<usize>().unwrap() > 50 && three_parents.parse::<usize>().unwrap() > 20);
}

#[test]
fn paths_contents_and_folders_of_the_hard_repository_return() {
    let rig = Rig::new();
    let repository = rig.hard(COMMITS);
    let commits = repository.history("HEAD", None).unwrap().commits;
    let mut states: BTreeMap<&[u8], Vec<Option<FileState>>> = BTreeMap::new();
    let (mut to_folder, mut from_folder) = (0, 0);
    for commit in &commits {
        for change in &commit.changes {
            states
                .entry(&change.path)
                .or_insert_with(|| vec![None])
                .push(change.after);
            let inside = |other: &&Change| other.path.starts_with(&[&change.path[..], b"/"].concat());
            let mut others = commit.changes.iter();
            to_folder += usize::from(change.after.is_none() && others.any(|o| inside(&o) && o.after.is_some()));
            let mut others = commit.changes.iter();
            from_folder += usize::from(change.before.is_none() && others.any(|o| inside(&o) && o.after.is_none()));
        }
    }
    assert!(to_folder > 20 && from_folder > 20, "{to_folder} and {from_folder}");
    let returns = |window: &&[Option<FileState>]| window[0].is_some() && window[0] == window[2];
    let found = |middle: fn(&Option<FileState>) -> bool| {
        let windows = states.values().flat_map(|states| states.windows(3));
        windows.filter(returns).filter(|window| middle(&window[1])).count()
    };
    assert!(found(Option::is_some) > 20, "contents return");
    assert!(found(Option::is_none) > 5, "deleted paths return");
}

#[test]
fn a_generated_repository_is_the_same_everywhere_and_always() {
    let rig = Rig::new();
    let make = |name, seed| generate(&rig.path(name), GenerateOptions { seed, commits: 300 }).unwrap();
    assert_eq!(make("one", 1).to_string(), "127a387ba283d56625c94ef88f6ab9309bc6096d");
    assert_ne!(make("one again", 1), make("two", 2));
    assert_eq!(
        hard(&rig.path("hard"), SEED, COMMITS).unwrap().to_string(),
        "251d3804702689d2be489f3d8a121376a9c15942"
    );
    assert_eq!(rig.git(&["-C", "one", "symbolic-ref", "HEAD"]), "refs/heads/main");
    assert!(rig.git(&["-C", "one", "fsck", "--strict"]).is_empty());
}

#[test]
fn a_generated_history_looks_like_that_of_a_program() {
    let rig = Rig::new();
    generate(&rig.path("long"), GenerateOptions { seed: 3, commits: 2000 }).unwrap();
    let repository = Repository::open(&rig.path("long")).unwrap();
    let history = repository.history("HEAD", None).unwrap();
    check_replay(&repository, &history, &[1, 1000]);
    let changes: Vec<&Change> = history.commits.iter().flat_map(|commit| &commit.changes).collect();
    let count = |wanted: fn(&Change) -> bool| changes.iter().filter(|change| wanted(change)).count();
    let hot = count(|change| change.path == b"CHANGELOG.md");
    assert!(
        (2000 * 12 / 100..2000 * 18 / 100).contains(&hot),
        "{hot} changes of the hot file"
    );
    assert!(count(|change| change.after.is_none()) > 50 && count(|change| change.before.is_none()) > 50);
    assert!(
        (2000 * 2..2000 * 5).contains(&changes.len()),
        "{} changes",
        changes.len()
    );
    let authors = rig.git(&["-C", "long", "log", "--format=%an"]);
    assert_eq!(authors.lines().collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn a_repository_is_made_only_in_an_empty_folder() {
    let rig = Rig::new();
    std::fs::write(rig.path("file"), "text").unwrap();
    check_line(&hard(rig.0.path(), SEED, 1).unwrap_err(), "not an empty folder");
    let options = GenerateOptions { seed: SEED, commits: 1 };
    check_line(&generate(&rig.path("file/below"), options).unwrap_err(), "below\": ");
    check_line(&hard(&rig.path("none"), SEED, 0).unwrap_err(), "is empty");
}
