"""Published networks make as many errors on CIFAR-10's test images as in PyTorch."""

import numpy as np
import pytest
from published import ERRORS, cifar10_test, weights

import minires as mr

FIRST_300 = {"resnet20": 26, "resnet56": 18}  # errors among the first 300 images, counted in PyTorch


def count_errors(model, images, labels):
    with mr.no_grad():
        predictions = [model(mr.tensor(images[i : i + 250])).numpy().argmax(axis=1) for i in range(0, len(labels), 250)]
    return int((np.concatenate(predictions) != labels).sum())


def published(name):
    model = mr.models.build(name).eval()
    mr.interop.load_weights(model, weights(name))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
def test_errors_on_all_images(name):
    assert abs(count_errors(published(name), *cifar10_test()) - ERRORS[name]) <= 3  # rounding may decide a tie


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST_300)
def test_errors_of_the_textbook(name):
    images, labels = cifar10_test()
    with mr.engine("textbook"):
        assert abs(count_errors(published(name), images[:300], labels[:300]) - FIRST_300[name]) <= 1


def test_another_number_of_classes_is_named():
    with pytest.raises(mr.errors.StateDictError, match="with 10 classes: num_classes=10"):
        mr.interop.load_weights(mr.models.resnet20(num_classes=100), weights("resnet20"))
