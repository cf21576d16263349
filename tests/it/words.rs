//! Keeps private words out of the code and the documents. The field has a term for each of them.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{Source, files_below, root, sources};

/// Words that are no part of an identifier in `src/`, in the singular.
const NOT_IN_IDENTIFIERS: &str = "\
    lobby guest visit visitor welcome settle arrival door mailbox regulars seat bell gong lane flight census desk \
    tally tallies apart meter pen press weave weaver stamp bury odd unusual";

/// Terms of the field that contain a listed word.
const TERMS: [[&str; 2]; 3] = [["in", "flight"], ["time", "stamp"], ["time", "stamps"]];

/// Words that do not occur in comments, string literals and documents, in the singular.
const NOT_IN_PROSE: &str = "lobby guest census gong bell mailbox tallies weave weaver seat regulars";

/// The words of an identifier or a text, in lower case: `HTTPDoor` and `http_door` have the same.
fn words(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let is = |index: usize, class: fn(&char) -> bool| letters.get(index).is_some_and(class);
    let mut spaced = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let is_capital = letter.is_ascii_uppercase();
        let begins_word =
            is(index + 1, char::is_ascii_lowercase) || !is(index.wrapping_sub(1), char::is_ascii_uppercase);
        if is_capital && begins_word {
            spaced.push(' ');
        }
        spaced.push(if letter.is_ascii_alphabetic() { letter.to_ascii_lowercase() } else { ' ' });
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// The listed words in a text, also in the plural.
fn private_words(text: &str, list: &str) -> Vec<String> {
    let words = words(text);
    let is_listed =
        |word: &str| list.split(' ').any(|listed| word == listed || word.strip_suffix('s') == Some(listed));
    let is_in_term = |index: usize| index > 0 && TERMS.iter().any(|term| words[index - 1..=index] == *term);
    let found = words.iter().enumerate().filter(|(index, word)| is_listed(word) && !is_in_term(*index));
    found.map(|(_, word)| word.clone()).collect()
}

/// Private words in the identifiers, comments and strings of a source file.
fn private_words_of(source: &Source) -> Vec<(usize, String)> {
    let names = source.identifiers().map(|(line, name)| (line, name, NOT_IN_IDENTIFIERS));
    let prose = source.prose.iter().map(|(line, text)| (*line, text.clone(), NOT_IN_PROSE));
    let mut found = Vec::new();
    for (line, text, list) in names.chain(prose) {
        found.extend(private_words(&text, list).into_iter().map(|word| (line, word)));
    }
    found
}

/// The documents, the scripts and the tests, by their paths below the root; but not this file.
fn other_texts() -> Vec<(String, String)> {
    let mut paths: Vec<_> =
        ["docs", "scripts", "tests/it", "benches"].into_iter().flat_map(files_below).collect();
    paths.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "clippy.toml"]
            .map(|name| root().join(name)),
    );
    let mut texts = Vec::new();
    for path in paths.iter().filter(|path| !path.ends_with("tests/it/words.rs")) {
        let name = path.strip_prefix(root()).expect("a path below the root").display().to_string();
        if let Ok(text) = fs::read_to_string(path) {
            texts.push((name, text));
        }
    }
    assert!(texts.len() > 30, "the documents and scripts were not found");
    texts
}

fn assert_none(found: &BTreeSet<String>) {
    let lines: Vec<_> = found.iter().cloned().collect();
    assert!(lines.is_empty(), "use the terms of the field instead of these words:\n{}", lines.join("\n"));
}

#[test]
fn the_code_has_no_private_words() {
    let mut found = BTreeSet::new();
    for source in sources() {
        let words = private_words_of(source);
        found.extend(words.into_iter().map(|(line, word)| format!("src/{}:{line}: {word}", source.name)));
    }
    assert_none(&found);
}

#[test]
fn the_documents_scripts_and_tests_have_no_private_words() {
    let mut found = BTreeSet::new();
    for (name, text) in other_texts() {
        for (index, line) in text.lines().enumerate() {
            let words = private_words(line, NOT_IN_PROSE);
            found.extend(words.into_iter().map(|word| format!("{name}:{}: {word}", index + 1)));
        }
    }
    assert_none(&found);
}

#[test]
fn the_checks_find_words_in_every_form() {
    let identifiers = [
        ("struct LobbyGuest;", &["lobby", "guest"][..]),
        ("fn settle_visits() {}", &["settle", "visits"]),
        ("const MAX_SEATS: u8 = 1;", &["seats"]),
        ("let in_flight = InFlightRequest; let flights;", &["flights"]),
        ("let timestamp = time_stamps.compress(open_regular, lanes2);", &["lanes"]),
        ("let x = HTTPDoor;", &["door"]),
    ];
    for (text, expected) in identifiers {
        let found: Vec<_> =
            private_words_of(&Source::parse("a.rs", text)).into_iter().map(|(_, word)| word).collect();
        assert_eq!(found, expected, "{text}");
    }
    let prose =
        "// The lobby's guests\nlet a = \"a Gong, bell-like\"; /* labels, suggest, seats */ // the pen";
    let found = private_words_of(&Source::parse("a.rs", prose));
    let shown: Vec<_> = found.iter().map(|(line, word)| (*line, word.as_str())).collect();
    assert_eq!(shown, [(1, "lobby"), (1, "guests"), (2, "seats"), (2, "gong"), (2, "bell")]);
}
