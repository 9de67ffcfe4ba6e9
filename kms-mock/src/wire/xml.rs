//! Writing the XML of AWS's query protocol: elements, text, escapes.
//!
//! Source of truth: AWS query protocol (Smithy `awsQuery`). Writing only; the
//! requests of that protocol are forms.

/// XML under construction.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// `<name>…</name>` around what `inside` writes.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.open(name, "");
        inside(self);
        self.close(name);
    }

    /// The same with a namespace.
    pub(crate) fn root(&mut self, name: &str, namespace: &str, inside: impl FnOnce(&mut Self)) {
        self.open(name, &format!(" xmlns=\"{namespace}\""));
        inside(self);
        self.close(name);
    }

    /// `<name>value</name>`, escaped.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.open(name, "");
        for c in value.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // Not XML 1.0 characters at all, escaped or not.
                '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self.close(name);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    fn open(&mut self, name: &str, attributes: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push_str(attributes);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        let mut xml = Xml::default();
        xml.root("R", "urn:x", |xml| xml.text("M", "a<b>&\"\u{1}"));
        let text = String::from_utf8(xml.into_bytes()).unwrap();
        assert_eq!(
            text,
            "<R xmlns=\"urn:x\"><M>a&lt;b&gt;&amp;&quot;\u{fffd}</M></R>"
        );
    }
}
