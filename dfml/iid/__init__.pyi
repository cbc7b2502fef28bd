# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from dfml.iid import calibration as calibration
from dfml.iid import cluster as cluster
from dfml.iid import compose as compose
from dfml.iid import covariance as covariance
from dfml.iid import cross_decomposition as cross_decomposition
from dfml.iid import decomposition as decomposition
from dfml.iid import discriminant_analysis as discriminant_analysis
from dfml.iid import dummy as dummy
from dfml.iid import ensemble as ensemble
from dfml.iid import feature_extraction as feature_extraction
from dfml.iid import feature_selection as feature_selection
from dfml.iid import gaussian_process as gaussian_process
from dfml.iid import impute as impute
from dfml.iid import isotonic as isotonic
from dfml.iid import kernel_approximation as kernel_approximation
from dfml.iid import kernel_ridge as kernel_ridge
from dfml.iid import linear_model as linear_model
from dfml.iid import manifold as manifold
from dfml.iid import mixture as mixture
from dfml.iid import model_selection as model_selection
from dfml.iid import multiclass as multiclass
from dfml.iid import multioutput as multioutput
from dfml.iid import naive_bayes as naive_bayes
from dfml.iid import neighbors as neighbors
from dfml.iid import neural_network as neural_network
from dfml.iid import pipeline as pipeline
from dfml.iid import preprocessing as preprocessing
from dfml.iid import random_projection as random_projection
from dfml.iid import semi_supervised as semi_supervised
from dfml.iid import svm as svm
from dfml.iid import tree as tree
