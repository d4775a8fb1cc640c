//! The README and the guides: what they point at is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<PathBuf> {
    let guides = fs::read_dir(root().join("node/docs")).unwrap();
    let guides = guides.map(|entry| entry.unwrap().path());
    let mut documents: Vec<PathBuf> = guides
        .filter(|file| file.extension().is_some_and(|end| end == "md"))
        .collect();
    documents
        .extend(["README.md", "CHANGELOG.md", "bench/README.md", "deploy/README.md"].map(|file| root().join(file)));
    documents.sort();
    documents
}

/// The lines of a document that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// What a heading is called in a link, as forges have it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

fn has_heading(text: &str, wanted: &str) -> bool {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
    anchors.any(|anchor| anchor == wanted)
}

#[test]
fn what_the_readme_and_the_guides_link_to_is_there() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let targets = prose(&text).flat_map(|line| line.split("](").skip(1));
        for target in targets
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
        {
            if target.contains("://") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", document.display());
            let there = part.is_empty() || has_heading(&fs::read_to_string(&file).unwrap(), part);
            assert!(there, "{}: no heading for {target}", document.display());
            links += 1;
        }
    }
    assert!(links > 30, "only {links} links");
}

#[test]
fn every_guide_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for document in documents() {
        let name = document.file_name().unwrap().to_str().unwrap();
        if document.parent().unwrap().ends_with("docs") {
            assert!(readme.contains(&format!("(node/docs/{name})")), "{name}");
        }
    }
}
