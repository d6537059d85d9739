//! A line of the shell as words, for commands with options: white space divides, `"` and `'` hold together, `\` takes the meaning of the next.

/// The words of a line. Never panics.
///
/// # Errors
/// A quote that is not closed.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(characters.next()),
                        Some(inside) => word.push(inside),
                        None => return Err(format!("a quote {c} that is not closed")),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words() {
        assert_eq!(
            split("show 'a b'.tape  --tap 1 # x"),
            Ok(vec!["show".into(), "a b.tape".into(), "--tap".into(), "1".into()])
        );
        assert_eq!(
            split(r#"a\ b "c\"d" '' e#f"#),
            Ok(vec!["a b".into(), "c\"d".into(), String::new(), "e#f".into()])
        );
        assert!(split("a 'b").is_err());
        assert_eq!(split("  "), Ok(vec![]));
    }
}
