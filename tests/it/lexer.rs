//! Separates the code of Rust sources from comments and literals.

/// The parts of a source text. Lines are counted from 1.
#[derive(Default)]
pub(crate) struct Lexed {
    /// The code. Comments, string literals and character literals are replaced by a space and their line ends.
    pub(crate) code: String,
    /// Line and text of each comment.
    pub(crate) comments: Vec<(usize, String)>,
    /// Line and text of each string literal, without the quotes.
    pub(crate) strings: Vec<(usize, String)>,
}

pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { rest: text, line: 1, found: Lexed::default() };
    lexer.run();
    lexer.found
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    found: Lexed,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(first) = self.rest.chars().next() {
            let after_word = self.found.code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
            let raw = self.rest.trim_start_matches(['b', 'c']).strip_prefix('r').filter(|_| !after_word);
            let hashes = raw.map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
            if self.rest.starts_with("//") {
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                self.found.comments.push((self.line, self.rest[..length].to_owned()));
                self.skip(length);
            } else if self.rest.starts_with("/*") {
                let length = block_comment(self.rest);
                self.found.comments.push((self.line, self.rest[..length].to_owned()));
                self.skip(length);
            } else if raw.is_some_and(|raw| raw[hashes..].starts_with('"')) {
                let start = self.rest.find('"').map_or(0, |quote| quote + 1);
                let end = format!("\"{}", "#".repeat(hashes));
                let length = self.rest[start..].find(&end).unwrap_or(self.rest.len() - start);
                self.string(start, length, end.len());
            } else if first == '"' {
                let length = quoted(&self.rest[1..], '"');
                self.string(1, length, 1);
            } else if let Some(length) = character(self.rest) {
                self.skip(length);
            } else {
                self.found.code.push(first);
                self.line += usize::from(first == '\n');
                self.rest = &self.rest[first.len_utf8()..];
            }
        }
    }

    fn string(&mut self, start: usize, length: usize, end: usize) {
        self.found.strings.push((self.line, self.rest[start..start + length].to_owned()));
        self.skip((start + length + end).min(self.rest.len()));
    }

    /// Leaves out `length` bytes; only their ends of lines stay.
    fn skip(&mut self, length: usize) {
        let lines = self.rest[..length].matches('\n').count();
        self.found.code.push(' ');
        self.found.code.extend(std::iter::repeat_n('\n', lines));
        self.line += lines;
        self.rest = &self.rest[length..];
    }
}

/// Length of the text before the first `quote` that is not escaped.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == quote => return index,
            _ => {}
        }
    }
    text.len()
}

/// Length of the character literal at the start of `text`; `None` for a lifetime and everything else.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    let is_literal = first == '\\' || inner[first.len_utf8()..].starts_with('\'');
    is_literal.then(|| quoted(inner, '\'') + 2)
}

/// Length of the block comment at the start of `text`. Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for index in 0..text.len() {
        let rest = &text.as_bytes()[index..];
        if rest.starts_with(b"/*") {
            depth += 1;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            if depth == 0 {
                return index + 2;
            }
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "use a; // one\n/* three /* nested */ four */ let x = \"five\\\"\nsix\";\n\
                y = br#\"seven \" eight\"#; z = '\"'; fn f<'a>() { '\\'' }";
    let Lexed { code, comments, strings } = lex(text);
    let code: Vec<_> =
        code.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(code, ["use a;", "let x =", ";", "y = ; z = ; fn f<'a>() { }"]);
    let text_of = |found: &[(usize, String)]| found.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
    assert_eq!(text_of(&comments), ["// one", "/* three /* nested */ four */"]);
    assert_eq!(text_of(&strings), ["five\\\"\nsix", "seven \" eight"]);
    assert_eq!((comments[1].0, strings[0].0, strings[1].0), (2, 2, 4));
}
