//! Manners of the source itself: what a reviewer would otherwise have to say again and again.
//!
//! The limits are those of the house style. Each violation is one line with its place, so that an
//! editor can jump to it.

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 60;
const FILE_LINES_MAX: usize = 400;

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "misc", "helper", "helpers", "manager", "managers"];

/// Words that mean unfinished work or an unhandled error, outside of tests.
const BANNED: &[&str] =
    &["todo!(", "unimplemented!(", "dbg!(", ".unwrap()", "NotImplemented", "not implemented"];
/// Words that switch a test off or let it pass for the wrong reason.
const BANNED_IN_TESTS: &[&str] = &["#[ignore", "#[should_panic", "fn test_"];

/// One file of the workspace.
pub(crate) struct Source {
    /// Its path inside the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether the whole file is about tests.
    pub(crate) fn is_test(&self) -> bool {
        let folders = ["tests/", "benches/", "runtime/testkit/"];
        folders.iter().any(|folder| self.path.starts_with(folder))
            || self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
    }

    /// How many lines come before the tests of the file.
    fn lines_before_tests(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let tests = self.text.lines().position(|line| line.trim() == "#[cfg(test)]");
        tests.unwrap_or_else(|| self.text.lines().count())
    }

    /// One line about a place in the file.
    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}

/// All files with this ending below these folders, in a stable order.
pub(crate) fn sources(folders: &[&str], ending: &str) -> Vec<Source> {
    let mut paths: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "node_modules" && name != "target" {
            let entries = fs::read_dir(&path).expect("a folder of the workspace can be read");
            paths.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
        } else if name.ends_with(ending) && path.is_file() {
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            let path = path.strip_prefix(root()).expect("it is below").display().to_string();
            sources.push(Source { path, text });
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn rust() -> Vec<Source> {
    sources(&["runtime", "domains", "edge", "examples", "tests", "benches", "fuzz"], ".rs")
}

#[track_caller]
fn check(sources: &[Source], violations: impl Fn(&Source) -> Vec<String>) {
    assert!(!sources.is_empty(), "there is nothing to look at");
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn long_lines(source: &Source) -> Vec<String> {
    let before_tests = source.lines_before_tests();
    // A sample of the wire is quoted as it is.
    let is_sample = |number, line: &str| number >= before_tests && line.contains("r#\"");
    let too_long = |(number, line): &(usize, &str)| {
        line.chars().count() > COLUMNS_MAX && !is_sample(*number, line)
    };
    let lines = source.text.lines().enumerate().filter(too_long);
    lines.map(|(number, _)| source.at(number, "longer than 100 columns")).collect()
}

fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let function = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| *word != "fn").collect();
        let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const"];
        line.contains("fn ") && words.iter().all(|word| modifiers.contains(word))
    };
    let starts = lines.iter().enumerate().filter(|(_, line)| function(line));
    starts
        .filter_map(|(start, line)| {
            let signature = |line: &&&str| line.ends_with(['{', '}', ';']);
            let has_body = lines[start..].iter().find(signature)?.ends_with('{');
            // The formatter closes a function where its line began.
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == end)? + 1;
            (has_body && length > FUNCTION_LINES_MAX)
                .then(|| source.at(start, &format!("a function of {length} lines, more than 60")))
        })
        .collect()
}

fn long_file(source: &Source) -> Vec<String> {
    let length = source.lines_before_tests();
    let what = format!("{length} lines before the tests, more than 400; it holds two nouns");
    if length > FILE_LINES_MAX { vec![source.at(0, &what)] } else { Vec::new() }
}

fn banned_words(source: &Source) -> Vec<String> {
    let before_tests = source.lines_before_tests();
    let lines = source.text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim_start();
        !line.starts_with("//")
    });
    lines
        .flat_map(|(number, line)| {
            let everywhere = BANNED_IN_TESTS.iter().filter(move |_| number >= before_tests);
            let outside = BANNED.iter().filter(move |_| number < before_tests);
            let words = everywhere.chain(outside).filter(move |word| line.contains(**word));
            words.map(move |word| (number, word))
        })
        .map(|(number, word)| source.at(number, &format!("`{word}` has no place here")))
        .collect()
}

#[test]
fn no_line_is_longer_than_a_page_is_wide() {
    check(&rust(), long_lines);
}

#[test]
fn every_function_fits_a_screen() {
    check(&rust(), long_functions);
}

#[test]
fn every_file_holds_one_noun() {
    check(&rust(), long_file);
}

#[test]
fn every_file_says_first_what_it_is() {
    check(&rust(), |source| {
        let says = source.text.starts_with("//! ");
        if says { Vec::new() } else { vec![source.at(0, "does not begin with `//!`")] }
    });
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    let sources = rust();
    let others: Vec<Source> =
        sources.into_iter().filter(|source| source.path != "tests/tidy.rs").collect();

    check(&others, banned_words);
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    check(&rust(), |source| {
        let names = Path::new(&source.path).iter().filter_map(|name| name.to_str());
        names
            .map(|name| name.trim_end_matches(".rs"))
            .filter(|name| EMPTY_NAMES.contains(name))
            .map(|name| source.at(0, &format!("`{name}` says nothing about what is in it")))
            .collect()
    });
}

#[test]
fn every_migration_says_first_why_it_exists() {
    check(&sources(&["migrations"], ".sql"), |source| {
        let says = source.text.starts_with("-- ");
        if says { Vec::new() } else { vec![source.at(0, "does not begin with a comment")] }
    });
}

#[test]
fn a_panic_ends_one_process_and_never_the_platform() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has one");

    let panics: Vec<&str> = manifest.lines().filter(|line| line.starts_with("panic")).collect();

    assert_eq!(panics, [r#"panic = "unwind""#; 2], "in the profiles `dev` and `release`");
    assert!(!manifest.contains("abort"), "supervision rests on unwinding");
    assert!(!root().join(".cargo/config.toml").exists(), "profiles belong into Cargo.toml");
}

#[test]
fn the_checks_themselves_find_what_they_look_for() {
    let long = format!("    async fn long() {{\n{}    }}\n", "        step();\n".repeat(59));
    let lines = format!("{}\nvalue.unwrap();\n// value.unwrap();\n{long}", "x".repeat(101));
    let code = Source { path: "runtime/kernel/src/sample.rs".to_owned(), text: lines };
    let story = Source { path: "tests/sample.rs".to_owned(), text: "#[ignore]".to_owned() };
    let endless = "\n".repeat(FILE_LINES_MAX + 1);

    assert_eq!(long_lines(&code), ["runtime/kernel/src/sample.rs:1: longer than 100 columns"]);
    assert_eq!(long_functions(&code).len(), 1);
    assert_eq!(
        banned_words(&code),
        ["runtime/kernel/src/sample.rs:2: `.unwrap()` has no place here"]
    );
    assert_eq!(banned_words(&story), ["tests/sample.rs:1: `#[ignore` has no place here"]);
    assert_eq!(long_file(&Source { text: endless.clone(), ..code }).len(), 1);
    assert!(long_file(&Source { text: endless, ..story }).is_empty());
}
