//! The members of a request, read and checked as the service model says.
//!
//! Source of truth: `constraints` of the KMS service model; the recorded texts
//! of `ValidationException` (ground truth KMS §4). Unknown members are ignored,
//! `null` is the same as absent, several violations are reported together.
//!
//! Enumerations are printed in the order AWS's were recorded in, where they
//! were; AWS prints a set of its own order, without what it added since.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::UnixMillis;
use serde_json::{Map, Value};

use super::{
    error::{Constraint, Failure, Malformed, Violation},
    json::{Json, Object},
};
use crate::model::spec::Named;

/// The members of one JSON object while [`Fields::read`] reads them. Getters return
/// what they find, or a stand-in with a violation noted, so that all violations are
/// found; `read` then refuses, and no stand-in gets out.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: Object<'a>,
    prefix: String,
    violations: Vec<Violation>,
    malformed: Option<Malformed>,
}

/// A string's constraints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) pattern: Option<Pattern>,
}

/// A regular expression of the model with a function that decides the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    pub(crate) shown: &'static str,
    pub(crate) fits: fn(&str) -> bool,
}

pub(crate) const fn length(min: usize, max: usize) -> Text {
    Text {
        min,
        max,
        pattern: None,
    }
}

pub(crate) const KEY_ID: Text = length(1, 2048);
pub(crate) const GRANT_ID: Text = length(1, 128);
pub(crate) const DESCRIPTION: Text = length(0, 8192);
pub(crate) const ALIAS_NAME: Text = Text {
    min: 1,
    max: 256,
    pattern: Some(Pattern {
        shown: "^[a-zA-Z0-9:/_-]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
        },
    }),
};
pub(crate) const GRANT_NAME: Text = ALIAS_NAME;
pub(crate) const POLICY_NAME: Text = Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        shown: "[\\w]+",
        fits: |text| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        },
    }),
};
pub(crate) const POLICY: Text = Text {
    min: 1,
    max: 131_072,
    pattern: Some(Pattern {
        shown: "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        fits: |text| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
        },
    }),
};
pub(crate) const SERVICE_PRINCIPAL: Text = Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        shown: "^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$",
        fits: |text| {
            let is_label = |label: &str| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            text.split('.').count() >= 3 && text.split('.').all(is_label)
        },
    }),
};
pub(crate) const PRINCIPAL_ID: Text = Text {
    min: 1,
    max: 256,
    pattern: Some(Pattern {
        shown: "^[\\w+=,.@:/-]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b))
        },
    }),
};
const MARKER: Text = Text {
    min: 1,
    max: 1024,
    pattern: Some(Pattern {
        shown: "[\\u0020-\\u00FF]*",
        fits: |text| text.chars().all(|c| matches!(c, ' '..='\u{ff}')),
    }),
};

impl<'a> Fields<'a> {
    /// What `read` makes of a body's members, if all of them are as they must be.
    pub(crate) fn read<T>(
        body: Object<'a>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, Failure> {
        let mut fields = Self::of(body, String::new());
        let value = read(&mut fields);
        if let Some(malformed) = fields.malformed {
            return Err(Failure::Serialization(malformed));
        }
        if !fields.violations.is_empty() {
            return Err(Failure::Constraints(fields.violations));
        }
        Ok(value)
    }

    fn of(members: Object<'a>, prefix: String) -> Self {
        Self {
            members,
            prefix,
            violations: Vec::new(),
            malformed: None,
        }
    }

    fn take(&mut self, name: &str) -> Option<Json<'a>> {
        self.members.take(name)
    }

    fn shown_name(&self, name: &str) -> Cow<'static, str> {
        let mut chars = name.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        let camel: String = first.into_iter().chain(chars).collect();
        Cow::Owned(format!("{}{camel}", self.prefix))
    }

    fn violate(&mut self, name: &str, value: Option<String>, constraint: Constraint) {
        let member = self.shown_name(name);
        self.violations.push(Violation {
            member,
            value,
            constraint,
        });
    }

    fn mistyped(&mut self, found: &Json<'_>, wanted: &'static str) {
        let found = match found {
            Json::Null => "NULL_VALUE",
            Json::Bool(true) => "TRUE_VALUE",
            Json::Bool(false) => "FALSE_VALUE",
            Json::Number(number) if number.is_f64() => "DECIMAL_VALUE",
            Json::Number(_) => "NUMBER_VALUE",
            Json::Text(_) => "STRING_VALUE",
            Json::List(_) => return self.unexpected("list"),
            Json::Object(_) => return self.unexpected("structure or map"),
        };
        self.malformed
            .get_or_insert(Malformed::Type { found, wanted });
    }

    fn unexpected(&mut self, found: &'static str) {
        self.malformed
            .get_or_insert(Malformed::Unexpected { found });
    }

    fn check(&mut self, name: &str, text: &str, rule: Text) {
        if let Some(pattern) = rule.pattern
            && !(pattern.fits)(text)
        {
            self.violate(
                name,
                Some(text.to_owned()),
                Constraint::Pattern(pattern.shown),
            );
        }
        // No more characters than bytes and no less than a quarter: most texts need not
        // be counted.
        if text.len() <= rule.max && text.len() >= rule.min.saturating_mul(4) {
            return;
        }
        let chars = text.chars().count();
        if chars < rule.min {
            self.violate(name, Some(text.to_owned()), Constraint::MinLength(rule.min));
        }
        if chars > rule.max {
            self.violate(name, Some(text.to_owned()), Constraint::MaxLength(rule.max));
        }
    }

    /// An optional string.
    pub(crate) fn text(&mut self, name: &str, rule: Text) -> Option<String> {
        self.borrowed_text(name, rule).map(Cow::into_owned)
    }

    /// The same, left in the body where it has no escapes.
    pub(crate) fn borrowed_text(&mut self, name: &str, rule: Text) -> Option<Cow<'a, str>> {
        match self.take(name)? {
            Json::Text(text) => {
                self.check(name, &text, rule);
                Some(text)
            }
            other => {
                self.mistyped(&other, "String");
                None
            }
        }
    }

    /// A required string.
    pub(crate) fn required_text(&mut self, name: &str, rule: Text) -> String {
        self.text(name, rule).unwrap_or_else(|| self.absent(name))
    }

    /// The same, left in the body where it has no escapes.
    pub(crate) fn required_borrowed_text(&mut self, name: &str, rule: Text) -> Cow<'a, str> {
        let text = self.borrowed_text(name, rule);
        text.unwrap_or_else(|| self.absent(name))
    }

    fn absent<T: Default>(&mut self, name: &str) -> T {
        self.violate(name, None, Constraint::NotNull);
        T::default()
    }

    /// An optional member of an enumeration; `values` is how AWS prints them.
    pub(crate) fn choice<T: Named>(&mut self, name: &str, values: &'static str) -> Option<T> {
        self.choice_by(name, T::parse, values)
    }

    /// The same for a set that has no enumeration.
    pub(crate) fn choice_by<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        values: &'static str,
    ) -> Option<T> {
        let text = self.text(name, length(0, usize::MAX))?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.violate(name, Some(text), Constraint::Enum(values));
        }
        parsed
    }

    /// A required member of an enumeration.
    pub(crate) fn required_choice<T: Named>(&mut self, name: &str, values: &'static str) -> T {
        self.required_choice_by(name, T::parse, values, T::ALL[0])
    }

    /// The same for a set that has no enumeration, with a stand-in.
    pub(crate) fn required_choice_by<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        values: &'static str,
        stand_in: T,
    ) -> T {
        if !self.members.has(name) {
            self.violate(name, None, Constraint::NotNull);
            return stand_in;
        }
        self.choice_by(name, parse, values).unwrap_or(stand_in)
    }

    /// An optional time, in seconds since 1970.
    pub(crate) fn timestamp(&mut self, name: &str) -> Option<UnixMillis> {
        let value = self.take(name)?;
        let seconds = match &value {
            Json::Number(number) => number.as_f64().filter(|seconds| seconds.is_finite()),
            _ => None,
        };
        let Some(seconds) = seconds else {
            self.mistyped(&value, "Timestamp");
            return None;
        };
        // Saturates: what lies before 1970 or after all time is refused later.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let millis = (seconds * 1000.0).round() as u64;
        Some(UnixMillis(millis))
    }

    /// An optional whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, min: u16, max: u16) -> Option<u16> {
        let value = self.take(name)?;
        let number = match &value {
            Json::Number(number) => number.as_i64(),
            _ => None,
        };
        let Some(number) = number else {
            self.mistyped(&value, "Integer");
            return None;
        };
        let (min, max) = (i64::from(min), i64::from(max));
        if number < min {
            self.violate(name, Some(number.to_string()), Constraint::MinValue(min));
        }
        if number > max {
            self.violate(name, Some(number.to_string()), Constraint::MaxValue(max));
        }
        u16::try_from(number).ok() // whatever is within the bounds
    }

    /// An optional boolean; absent is false.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Json::Bool(flag)) => flag,
            Some(other) => {
                self.mistyped(&other, "Boolean");
                false
            }
        }
    }

    /// An optional blob, in base64.
    pub(crate) fn blob(&mut self, name: &str, min: usize, max: usize) -> Option<Vec<u8>> {
        let text = match self.take(name)? {
            Json::Text(text) => text,
            other => {
                self.mistyped(&other, "Blob");
                return None;
            }
        };
        let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(text.as_bytes()) else {
            self.malformed.get_or_insert(Malformed::Base64);
            return None;
        };
        if bytes.len() < min {
            self.violate(name, None, Constraint::MinLength(min));
        }
        if bytes.len() > max {
            self.violate(name, None, Constraint::MaxLength(max));
        }
        Some(bytes)
    }

    /// A required blob.
    pub(crate) fn required_blob(&mut self, name: &str, min: usize, max: usize) -> Vec<u8> {
        self.blob(name, min, max)
            .unwrap_or_else(|| self.absent(name))
    }

    /// An optional map of strings.
    pub(crate) fn map(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let members = match self.take(name)? {
            Json::Object(members) => members,
            other => {
                self.mistyped(&other, "Map");
                return None;
            }
        };
        let mut map = BTreeMap::new();
        for (key, value) in members {
            match value {
                Json::Text(value) => {
                    map.insert(key.into_owned(), value.into_owned());
                }
                other => self.mistyped(&other, "String"),
            }
        }
        Some(map)
    }

    /// An optional list of strings.
    pub(crate) fn texts(&mut self, name: &str, min: usize, max: usize) -> Option<Vec<String>> {
        let items = self.list(name)?;
        if items.len() < min {
            self.violate(name, None, Constraint::MinLength(min));
        }
        if items.len() > max {
            self.violate(name, None, Constraint::MaxLength(max));
        }
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Json::Text(text) => texts.push(text.into_owned()),
                other => self.mistyped(&other, "String"),
            }
        }
        Some(texts)
    }

    /// A required list of strings.
    pub(crate) fn required_texts(&mut self, name: &str) -> Vec<String> {
        self.texts(name, 0, usize::MAX)
            .unwrap_or_else(|| self.absent(name))
    }

    /// A required list of members of a set.
    pub(crate) fn required_choices_by<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        values: &'static str,
    ) -> Vec<T> {
        let texts = self.required_texts(name);
        self.chosen(name, &texts, parse, values)
    }

    /// An optional list of members of a set.
    pub(crate) fn choices_by<T>(
        &mut self,
        name: &str,
        (min, max): (usize, usize),
        parse: impl Fn(&str) -> Option<T>,
        values: &'static str,
    ) -> Option<Vec<T>> {
        let texts = self.texts(name, min, max)?;
        Some(self.chosen(name, &texts, parse, values))
    }

    fn chosen<T>(
        &mut self,
        name: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Option<T>,
        values: &'static str,
    ) -> Vec<T> {
        let mut choices = Vec::with_capacity(texts.len());
        for text in texts {
            match parse(text) {
                Some(choice) => choices.push(choice),
                None => {
                    let shown = format!("[{}]", texts.join(", "));
                    self.violate(name, Some(shown), Constraint::Enum(values));
                    break;
                }
            }
        }
        choices
    }

    fn list(&mut self, name: &str) -> Option<Vec<Json<'a>>> {
        match self.take(name)? {
            Json::List(items) => Some(items),
            other => {
                self.mistyped(&other, "List");
                None
            }
        }
    }

    /// `GrantTokens`, as they came.
    pub(crate) fn grant_tokens(&mut self) -> GrantTokens {
        GrantTokens(self.texts("GrantTokens", 0, 10).unwrap_or_default())
    }

    /// `Recipient`, as it came.
    pub(crate) fn recipient(&mut self) -> Option<RecipientMembers> {
        self.structure("Recipient", |inner| RecipientMembers {
            has_algorithm: inner
                .choice_by(
                    "KeyEncryptionAlgorithm",
                    |text| (text == "RSAES_OAEP_SHA_256").then_some(()),
                    "[RSAES_OAEP_SHA_256]",
                )
                .is_some(),
            document: inner.blob("AttestationDocument", 1, 262_144),
        })
    }

    /// An optional structure, read by `read`.
    pub(crate) fn structure<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let members = match self.take(name)? {
            Json::Object(members) => members,
            other => {
                self.mistyped(&other, "Structure");
                return None;
            }
        };
        let prefix = format!("{}.", self.shown_name(name));
        Some(self.nested(members, prefix, read))
    }

    /// An optional list of structures, each read by `read`.
    pub(crate) fn structures<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self) -> T,
    ) -> Option<Vec<T>> {
        let items = self.list(name)?;
        let mut out = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Json::Object(members) => {
                    let prefix = format!("{}.{}.member.", self.shown_name(name), at + 1);
                    out.push(self.nested(members, prefix, &mut read));
                }
                other => self.mistyped(&other, "Structure"),
            }
        }
        Some(out)
    }

    /// A required list of structures.
    pub(crate) fn required_structures<T>(
        &mut self,
        name: &str,
        read: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        self.structures(name, read)
            .unwrap_or_else(|| self.absent(name))
    }

    fn nested<T>(
        &mut self,
        members: Object<'a>,
        prefix: String,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut inner = Self::of(members, prefix);
        let value = read(&mut inner);
        self.violations.append(&mut inner.violations);
        if self.malformed.is_none() {
            self.malformed = inner.malformed;
        }
        value
    }

    /// `Limit` and `Marker` of a list, with the model's default of the limit.
    pub(crate) fn page(&mut self, limit_default: u16) -> Page {
        let limit = self.number("Limit", 1, 1000).unwrap_or(limit_default);
        let marker = self.text("Marker", MARKER);
        Page { limit, marker }
    }
}

/// `Recipient` as it came, its document not looked at yet.
#[derive(Debug)]
pub(crate) struct RecipientMembers {
    pub(crate) has_algorithm: bool,
    pub(crate) document: Option<Vec<u8>>,
}

/// The grant tokens that a request brings, not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct GrantTokens(pub(crate) Vec<String>);

/// Which part of a list is wanted.
#[derive(Debug)]
pub(crate) struct Page {
    limit: u16,
    marker: Option<String>,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Cut<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_marker: Option<String>,
}

impl Page {
    /// Entries wanted, one more than asked for so that the end can be seen.
    pub(crate) fn reach(&self) -> usize {
        usize::from(self.limit) + 1
    }

    /// The name after which the page starts.
    pub(crate) fn after(&self) -> Result<Option<String>, Failure> {
        let Some(marker) = &self.marker else {
            return Ok(None);
        };
        let bytes = BASE64.decode(marker).map_err(|_| Failure::InvalidMarker)?;
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Failure::InvalidMarker)
    }

    /// What of a short list, in order, comes after the name.
    pub(crate) fn after_in<T>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, Failure> {
        let Some(after) = self.after()? else {
            return Ok(items);
        };
        let comes = |item: &T| name(item) > after.as_str();
        Ok(items.into_iter().filter(comes).collect())
    }

    /// Cuts what came after [`Page::after`], in order, to the limit.
    pub(crate) fn cut<T>(&self, mut items: Vec<T>, name: impl Fn(&T) -> &str) -> Cut<T> {
        let limit = self.reach() - 1;
        let truncated = items.len() > limit;
        items.truncate(limit);
        let next_marker = items
            .last()
            .filter(|_| truncated)
            .map(|last| BASE64.encode(name(last)));
        Cut { items, next_marker }
    }
}

impl<T> Cut<T> {
    /// The answer's list with `Truncated` and `NextMarker`.
    pub(crate) fn to_json(&self, name: &str, item: impl FnMut(&T) -> Value) -> Value {
        let mut answer = Map::new();
        answer.insert(name.to_owned(), self.items.iter().map(item).collect());
        answer.insert("Truncated".to_owned(), self.next_marker.is_some().into());
        if let Some(marker) = &self.next_marker {
            answer.insert("NextMarker".to_owned(), marker.as_str().into());
        }
        Value::Object(answer)
    }
}
