import pickle

import numpy as np
import pandas as pd
import pytest
from linear_problems import adult_batch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from fairlightning.convex.estimator import FairLinearClassifier
from fairlightning.convex.linear import fit_linear
from fairlightning.exceptions import ArgumentError

ASKED = [dict(criterion="demographic_parity", epsilon_logit=0.1)]


@parametrize_with_checks(
    [FairLinearClassifier(loss) for loss in ("logistic", "squared_hinge", "hinge")]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_estimator_contract(estimator, check):
    check(estimator)


def table():
    batch, spec = adult_batch()
    sex = np.array(spec.to_dict()["sex"])[batch.sensitive[:, 0].numpy()]
    y = np.where(batch.target.numpy() == 1, "rich", "poor")
    return batch.inputs.numpy(), y, pd.DataFrame({"sex": sex})


def test_without_constraints_it_is_scikit_learn():
    x, y, _ = table()
    weight = np.random.default_rng(0).uniform(0.1, 2, len(x))
    ours = FairLinearClassifier(l2=1 / weight.sum()).fit(x, y, sample_weight=weight)
    theirs = LogisticRegression(tol=1e-10, max_iter=10000).fit(x, y, sample_weight=weight)
    assert ours.decision_function(x) == pytest.approx(theirs.decision_function(x), abs=5e-3)
    assert ours.predict_proba(x) == pytest.approx(theirs.predict_proba(x), abs=5e-3)
    weight[y == "rich"] *= 3
    balanced = FairLinearClassifier(l2=1 / weight.sum(), class_weight="balanced")
    balanced.fit(x, y, sample_weight=weight)
    theirs = LogisticRegression(tol=1e-10, max_iter=10000, class_weight="balanced")
    theirs.fit(x, y, sample_weight=weight)
    assert balanced.decision_function(x) == pytest.approx(theirs.decision_function(x), abs=1e-2)
    svc = LinearSVC(C=1.0, tol=1e-10, max_iter=100_000, intercept_scaling=1e3, dual=False)
    svc.fit(x, y)
    ours = FairLinearClassifier("squared_hinge", l2=1 / len(x)).fit(x, y)
    assert ours.decision_function(x) == pytest.approx(svc.decision_function(x), abs=2e-2)
    assert not hasattr(ours, "predict_proba")


@pytest.mark.parametrize("l2", [0.0, 1e-4])
def test_a_column_of_large_numbers_leaves_the_others_alone(l2):
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 3))
    y = x[:, 0] + random.normal(size=500) > 0
    incomes, seconds = x * [1, 1, 2e4] + [0, 0, 5e4], x * [1, 1, 1e7] + [0, 0, 1.7e9]
    # In units of its deviation the third column has no share in the regularisation.
    x[:, 2] *= 1e3
    expected = FairLinearClassifier(l2=l2).fit(x, y).decision_function(x)
    model = FairLinearClassifier(l2=l2, tolerance=1e-6).fit(incomes, y)
    assert model.result_.status == "optimal"
    assert model.decision_function(incomes) == pytest.approx(expected, abs=1e-3)
    with pytest.warns(ConvergenceWarning, match="scale the features"):
        model.fit(seconds, y)
    assert model.decision_function(seconds) == pytest.approx(expected, abs=1e-3)


def test_it_is_the_plain_function():
    x, y, sensitive = table()
    model = FairLinearClassifier(constraints=ASKED).fit(x, y, sensitive=sensitive)
    batch, spec = adult_batch()
    result = fit_linear(batch, groups=spec, constraints=ASKED)
    assert model.coef_[0] == pytest.approx(result.coefficients)
    assert model.result_.status == "optimal"
    logit = model.decision_function(x)
    male = (sensitive.sex == "Male").to_numpy()
    assert abs(logit[male].mean() - logit[~male].mean()) == pytest.approx(0.1, abs=1e-6)
    for form in (sensitive.sex, {"sex": sensitive.sex}, sensitive.sex.to_numpy()):
        same = clone(model).fit(x, y, sensitive=form)
        assert same.coef_ == pytest.approx(model.coef_)
    missing = sensitive.sex.mask(np.arange(len(x)) < 100)
    assert clone(model).fit(x, y, sensitive=missing).groups_.sizes == (2,)


def test_clone_pickle_pipeline_and_grid_search():
    x, y, sensitive = table()
    model = FairLinearClassifier(constraints=ASKED, l2=1e-3)
    assert clone(model).get_params() == model.get_params()
    fitted = model.fit(x, y, sensitive=sensitive)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict(x) == fitted.predict(x)).all()
    assert again.result_.bound == fitted.result_.bound
    pipeline = make_pipeline(StandardScaler(), clone(model))
    pipeline.fit(x, y, fairlinearclassifier__sensitive=sensitive)
    assert pipeline.score(x, y) > 0.7
    search = GridSearchCV(model, {"l2": [1e-4, 1e-1]}, cv=2).fit(x, y, sensitive=sensitive)
    assert search.best_params_ == {"l2": 1e-4}


def test_wrong_arguments_are_named():
    x, y, sensitive = table()
    model = FairLinearClassifier(constraints=ASKED)
    with pytest.raises(ArgumentError, match="groups: found None"):
        model.fit(x, y)
    with pytest.raises(ArgumentError, match="sensitive: found 10 rows"):
        model.fit(x, y, sensitive=sensitive[:10])
    with pytest.raises(ArgumentError, match="3 classes"):
        model.fit(x, np.arange(len(x)) % 3, sensitive=sensitive)
    with pytest.raises(ArgumentError, match="two or more different categories"):
        model.fit(x, y, sensitive=np.zeros(len(x)))
