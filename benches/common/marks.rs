//! The generated parts of a page stand between marks.

/// The page with a text between these marks.
pub fn between(page: &str, [open, close]: [&str; 2], text: &str) -> String {
    let (before, rest) = page.split_once(open).unwrap_or_else(|| panic!("the page lacks {open}"));
    let (_, after) = rest.split_once(close).unwrap_or_else(|| panic!("the page lacks {close}"));
    format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim_end())
}
