//! What diffusers writes beside the weights of a `UNet2DModel`, `config.json`: much of it stands in no tensor.

use std::path::{Path, PathBuf};

use anomalens_models::preset::{Heads, Norm};
use serde_json::{Map, Value, json};

use super::CheckpointError;
use super::family::Family;

/// The blocks that a preset has, on the way down and on the way up. Others have the same tensors in part.
const BLOCKS: [(&str, [&str; 3]); 2] = [
    ("down_block_types", ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]),
    ("up_block_types", ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]),
];
/// The file's name.
const CONFIG: &str = "config.json";

/// What no tensor of a `UNet2DModel` shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// `sample_size`: height and width of its images.
    pub image_size: Option<usize>,
    /// `attention_head_dim`.
    pub heads: Heads,
    /// `norm_num_groups` and `norm_eps`.
    pub norm: Norm,
}

impl Config {
    /// Reads the file that lies beside a checkpoint. What is not said in it is as in `UNet2DModel`'s own signature.
    ///
    /// Errors: [`CheckpointError::NoConfig`]; [`CheckpointError::Config`], also for a network that is none of those that
    /// a preset describes.
    pub fn beside(checkpoint: &Path) -> Result<Self, CheckpointError> {
        let path = checkpoint.with_file_name(CONFIG);
        if !path.exists() {
            return Err(CheckpointError::NoConfig { path: checkpoint.to_owned(), family: Family::Diffusers });
        }
        let fail = |found: String| CheckpointError::Config {
            path: path.clone(),
            key: "the file".into(),
            found,
            expected: "the JSON that save_pretrained writes".into(),
        };
        let text = std::fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(keys)) => Keys { path, keys }.config(),
            Ok(_) => Err(fail("no object".into())),
            Err(e) => Err(fail(e.to_string())),
        }
    }
}

struct Keys {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl Keys {
    fn config(&self) -> Result<Config, CheckpointError> {
        // A preset has no other; where the key is absent, it is so, too.
        for (key, only) in [
            ("_class_name", &[json!("UNet2DModel")][..]),
            ("act_fn", &[json!("silu"), json!("swish")]),
            ("add_attention", &[json!(true)]),
            ("center_input_sample", &[json!(false)]),
            ("class_embed_type", &[Value::Null]),
            ("downsample_padding", &[json!(1)]),
            ("flip_sin_to_cos", &[json!(true)]),
            ("freq_shift", &[json!(0), json!(0.0)]),
            ("mid_block_scale_factor", &[json!(1), json!(1.0)]),
            ("mid_block_type", &[json!("UNetMidBlock2D")]),
            ("resnet_time_scale_shift", &[json!("default"), json!("scale_shift")]),
            ("time_embedding_type", &[json!("positional")]),
        ] {
            if let Some(found) = self.keys.get(key).filter(|found| !only.contains(found)) {
                let expected = only.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
                return Err(self.fail(key, found, expected));
            }
        }
        for (key, known) in BLOCKS {
            let blocks = self.keys.get(key).and_then(Value::as_array);
            let is_known = |block: &Value| block.as_str().is_some_and(|block| known.contains(&block));
            if let Some(other) = blocks.into_iter().flatten().find(|block| !is_known(block)) {
                return Err(self.fail(key, other, known.join(", ")));
            }
        }
        let groups = self.number("norm_num_groups")?.unwrap_or(Norm::default().groups);
        if let Some(middle) = self.number("attn_norm_num_groups")?
            && middle != groups
        {
            let expected = format!("{groups}, as norm_num_groups, or null");
            return Err(self.fail("attn_norm_num_groups", &json!(middle), expected));
        }
        let heads = match self.keys.get("attention_head_dim") {
            None => Heads::Channels(8),
            Some(_) => self.number("attention_head_dim")?.map_or(Heads::Count(1), Heads::Channels),
        };
        let epsilon = match self.keys.get("norm_eps") {
            None => Norm::default().epsilon,
            Some(value) => value.as_f64().ok_or_else(|| self.fail("norm_eps", value, "a number"))?,
        };
        Ok(Config { image_size: self.image_size()?, heads, norm: Norm { groups, epsilon } })
    }

    /// One side, or two that are the same.
    fn image_size(&self) -> Result<Option<usize>, CheckpointError> {
        const KEY: &str = "sample_size";
        match self.keys.get(KEY) {
            Some(Value::Array(sides)) => match &sides[..] {
                [height, width] if height == width => self.positive(KEY, height).map(Some),
                _ => Err(self.fail(KEY, &json!(sides), "a square")),
            },
            _ => self.number(KEY),
        }
    }

    /// A positive number; `None` where there is none, or null.
    fn number(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        let found = self.keys.get(key).filter(|value| !value.is_null());
        found.map(|value| self.positive(key, value)).transpose()
    }

    fn positive(&self, key: &str, value: &Value) -> Result<usize, CheckpointError> {
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        number.ok_or_else(|| self.fail(key, value, "a positive number"))
    }

    fn fail(&self, key: &str, found: &Value, expected: impl Into<String>) -> CheckpointError {
        CheckpointError::Config {
            path: self.path.clone(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}
