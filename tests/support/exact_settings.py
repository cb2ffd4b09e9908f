"""Settings under which a training draws nothing on its device, so that devices and processes can be compared."""

CONFIGURATION = """
[split]
scheme = "holdout"

[imaging]
size_px = 64

[network]
cnn = "test_efficientnet"
cnn_channels = 256
vit = "test_vit"
vit_channels = 64
classifier_channels = 16
feature_dropout = 0.0
dropout = 0.0

[fit]
weights = "none"
precision = "float32"
cached_views = 2
batch_size = 10
baselines = ["vit-logistic-regression"]

[fit.frozen]
epochs = 3

[fit.finetune]
epochs = 2
drop_path = 0.0
mixup = 0.4
learning_rate = 1e-3

[predict]
n_views = 2
"""
