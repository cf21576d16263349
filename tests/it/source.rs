//! Source files as data for the tests of the structure: code without comments, strings and tests; paths; functions.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::lexer::{Lexed, lex};

/// A Rust source file. Lines are counted from 1.
pub(crate) struct Source {
    /// Path below `src/`, such as `archive/hour.rs`.
    pub(crate) name: String,
    /// The lines of code. Comments and the contents of strings are blank; the test module is left out.
    pub(crate) code: Vec<String>,
    /// Line and text of each comment and each string literal.
    pub(crate) prose: Vec<(usize, String)>,
    /// Line and text of each string literal.
    pub(crate) strings: Vec<(usize, String)>,
    paths: OnceLock<Vec<NamedPath>>,
}

/// A path in the code, such as `std::fs::write`. Imported names are replaced by what they stand for.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
    /// Whether it is an import of everything below the path.
    pub(crate) is_glob: bool,
}

/// A function with a body.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Number of lines from `fn` to the closing brace.
    pub(crate) lines: usize,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` of the repository.
pub(crate) fn files_below(directory: &str) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The files of `src/` except those that hold only tests. They are parsed once.
pub(crate) fn sources() -> &'static [Source] {
    static PARSED: OnceLock<Vec<Source>> = OnceLock::new();
    PARSED.get_or_init(parse_all)
}

fn parse_all() -> Vec<Source> {
    let is_code = |path: &PathBuf| {
        let is_test = path.ends_with("tests.rs") || path.parent().is_some_and(|dir| dir.ends_with("tests"));
        path.extension().is_some_and(|end| end == "rs") && !is_test
    };
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root().join("src")).expect("a path below src").display().to_string();
        Source::parse(&name, &fs::read_to_string(&path).expect("a source file"))
    };
    let sources: Vec<_> = files_below("src").into_iter().filter(is_code).map(read).collect();
    assert!(sources.len() > 30, "the sources were not found");
    sources
}

impl Source {
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let untested = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let Lexed { code, comments, strings } = lex(untested);
        let code = code.lines().map(str::to_owned).collect();
        let prose = comments.into_iter().chain(strings.clone()).collect();
        Self { name: name.to_owned(), code, prose, strings, paths: OnceLock::new() }
    }

    /// The names in the code, with their lines.
    pub(crate) fn identifiers(&self) -> impl Iterator<Item = (usize, String)> {
        self.tokens().into_iter().filter(Token::is_name).map(|token| (token.line, token.text))
    }

    /// All functions that have a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tokens = self.tokens();
        let mut found = Vec::new();
        for (index, pair) in tokens.windows(2).enumerate() {
            if pair[0].text == "fn" && pair[1].is_name() {
                let Some(end) = end_of_body(&tokens[index..]) else { continue };
                let line = pair[0].line;
                found.push(Function { name: pair[1].text.clone(), line, lines: end - line + 1 });
            }
        }
        found
    }

    /// All imports, and all other paths of at least two segments.
    pub(crate) fn paths(&self) -> &[NamedPath] {
        self.paths.get_or_init(|| self.read_paths())
    }

    fn read_paths(&self) -> Vec<NamedPath> {
        let tokens = self.tokens();
        let (mut imports, mut inline, mut names) = (Vec::new(), Vec::new(), HashMap::new());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let follows = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text.as_str());
            if token.text == "use" && follows(1) != "<" {
                at += 1;
                read_use(&tokens, &mut at, &[], &mut imports, &mut names);
            } else if token.is_name() && follows(1) == "::" && (at == 0 || tokens[at - 1].text != ".") {
                let mut segments = vec![token.text.clone()];
                while tokens[at + 1..].len() >= 2 && tokens[at + 1].text == "::" && tokens[at + 2].is_name() {
                    segments.push(tokens[at + 2].text.clone());
                    at += 2;
                }
                if segments.len() > 1 {
                    inline.push(NamedPath { line: token.line, segments, is_glob: false });
                }
            }
            at += 1;
        }
        for path in &mut inline {
            if let Some(full) = names.get(&path.segments[0]) {
                path.segments.splice(..1, Vec::clone(full));
            }
        }
        imports.extend(inline);
        imports
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (index, line) in self.code.iter().enumerate() {
            let mut rest = line.as_str();
            while let Some(first) = rest.chars().next() {
                let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
                let length = match first {
                    _ if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
                    ':' if rest.starts_with("::") => 2,
                    _ => first.len_utf8(),
                };
                let (text, after) = rest.split_at(length);
                if !first.is_whitespace() {
                    tokens.push(Token { text: text.to_owned(), line: index + 1 });
                }
                rest = after;
            }
        }
        tokens
    }
}

struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The line of the brace that closes the body of the function at the start of `tokens`.
fn end_of_body(tokens: &[Token]) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            "{" => braces += 1,
            "}" if braces == 1 => return Some(token.line),
            "}" => braces -= 1,
            ";" if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Reads one tree of a `use` declaration, from the token `at` to the one behind the tree.
fn read_use(
    tokens: &[Token],
    at: &mut usize,
    prefix: &[String],
    found: &mut Vec<NamedPath>,
    names: &mut HashMap<String, Vec<String>>,
) {
    let (mut segments, mut is_glob) = (prefix.to_vec(), false);
    let line = tokens[*at].line;
    while let Some(token) = tokens.get(*at) {
        match token.text.as_str() {
            "{" => {
                *at += 1;
                while tokens[*at].text != "}" {
                    read_use(tokens, at, &segments, found, names);
                    *at += usize::from(tokens[*at].text == ",");
                }
                *at += 1;
                return;
            }
            "::" => {}
            "*" => is_glob = true,
            "self" if !segments.is_empty() => {}
            "as" => break,
            name if token.is_name() => segments.push(name.to_owned()),
            _ => break,
        }
        *at += 1;
    }
    let mut name = segments.last().cloned().unwrap_or_default();
    if tokens[*at].text == "as" {
        name.clone_from(&tokens[*at + 1].text);
        *at += 2;
    }
    if !is_glob {
        names.insert(name, segments.clone());
    }
    found.push(NamedPath { line, segments, is_glob });
}

#[test]
fn paths_are_read_from_trees_of_imports_and_from_code() {
    let text = "use std::{fs::{self, File as F}, io::prelude::*};\nfn f() -> impl Sized + use<'_> {\n\
                fs::write(1);\n<T as crate::x::Y>::z(F::open);\nself.a::<b::C>; self::b::c::<u8>() }\n";
    let source = Source::parse("x.rs", text);
    let shown: Vec<_> =
        source.paths().iter().map(|path| (path.line, path.segments.join("::"), path.is_glob)).collect();
    let expected = [
        (1, "std::fs", false),
        (1, "std::fs::File", false),
        (1, "std::io::prelude", true),
        (3, "std::fs::write", false),
        (4, "crate::x::Y", false),
        (4, "std::fs::File::open", false),
        (5, "b::C", false),
        (5, "self::b::c", false),
    ];
    assert_eq!(shown, expected.map(|(line, path, is_glob)| (line, path.to_owned(), is_glob)));
}

#[test]
fn functions_are_counted_to_their_closing_brace() {
    let text = "trait T {\n    fn declared(a: [u8; 4]) -> u8;\n    fn given(&self) {}\n}\n\
                fn long(f: fn(u8) -> u8)\nwhere\n    u8: Copy,\n{\n    if true {\n        \"}\";\n    }\n}\n";
    let found: Vec<_> =
        Source::parse("x.rs", text).functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("given".to_owned(), 3, 1), ("long".to_owned(), 5, 8)]);
}
