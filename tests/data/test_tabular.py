from __future__ import annotations

import pickle
import warnings

import lightning
import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.data import Batch, TabularDataModule
from fairlightning.exceptions import ArgumentError, SetupError

CSV = """id,split,outcome,sex,race,age,income,city,flag,empty_in_train,w
1,train,1,f,a,20,1.5,Rome,True,,1
2,train,0,m,b,,2.5,Rome,False,,2
3,train,1,f,,40,3.5,Oslo,True,,1
4,train,0,m,a,30,4.5,,True,,1
5,train,0,x,b,30,,Oslo,False,,0
6,val,1,f,b,50,2.5,Bonn,True,7,1
7,validation,0,m,a,,,Rome,False,8,1
8,test,1,f,c,60,3.5,Rome,True,9,1
9,test,0,m,b,25,1.0,Kiev,True,,1.5
"""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.csv").write_text(CSV)
    data = TabularDataModule(
        tmp_path / "small.csv",
        target="outcome",
        sensitive={"sex": ["f", "m"], "race": ["a", "b"]},
        split="split",
        weight="w",
        ignore=["id"],
        batch_size=4,
    )
    data.setup()
    return data


def test_small_table_with_gaps(small):
    assert small.feature_names == [
        "age",
        "income",
        "empty_in_train",
        "age is missing",
        "income is missing",
        "empty_in_train is missing",
        "city",
        "flag",
    ]
    assert (small.num_numeric, small.cardinalities) == (6, [3, 3])
    train = small.batch("train")
    assert train.index.tolist() == [0, 1, 2, 3, 4]
    assert train.target.tolist() == [1, 0, 1, 0, 0]
    assert train.weight.tolist() == [1, 2, 1, 1, 0]
    assert train.sensitive.tolist() == [[0, 0], [1, 1], [0, -1], [1, 0], [-1, 1]]
    assert train.inputs[1].tolist() == [[2, 2], [2, 1], [1, 2], [0, 2], [1, 1]]
    # Row 1 has no age: median 30 in its place, and the indicator set.
    scaled = (np.array([20, 30, 40, 30, 30]) - 30) / np.std([20, 30, 40, 30, 30])
    assert train.inputs[0][:, 0].tolist() == pytest.approx(scaled.tolist())
    assert train.inputs[0][:, 3].tolist() == [0, 1, 0, 0, 0]
    assert train.inputs[0][:, 4].tolist() == [0, 0, 0, 0, 1]
    # What is empty in training is so elsewhere: no weight has learned from its values.
    for split in ("train", "validation", "test"):
        assert small.batch(split).inputs[0][:, [2, 5]].unique(dim=0).tolist() == [[0, 1]]
    assert train.checked
    assert small.batch("validation").inputs[1].tolist() == [[0, 2], [2, 1]]
    assert small.batch("test").inputs[1].tolist() == [[2, 2], [0, 2]]
    kinds = [values.dtype for values in (*train.inputs, *train[1:5])]
    assert kinds == [torch.float32, *[torch.int64] * 3, torch.float32, torch.int64]


def test_small_table_is_described(small):
    facts = small.describe()
    assert facts["rows"] == 9
    assert facts["positive"] == "1"
    assert facts["splits"]["train"] == {"rows": 5, "base_rate": 0.4}
    assert facts["numeric"] == ["age", "income", "empty_in_train"]
    assert facts["categorical"] == {"city": 3, "flag": 3}
    assert facts["unused"] == []
    assert facts["groups"]["sex"] == {
        "sex=f": {"rows": 4, "base_rate": 1.0},
        "sex=m": {"rows": 4, "base_rate": 0.0},
    }
    assert facts["groups"]["sex & race"]["sex=f & race=a"]["rows"] == 1
    assert facts["unknown_sensitive"] == {"sex": 1, "race": 2}
    assert facts["unlisted_sensitive"] == {"sex": {"x": 1}, "race": {"c": 1}}
    assert facts["missing"] == {"age": 2, "income": 2, "empty_in_train": 6, "city": 1, "race": 1}
    assert facts["unseen"] == {"validation": {"city": ["Bonn"]}, "test": {"city": ["Kiev"]}}
    assert facts["constant"] == ["empty_in_train"]
    text = small.report()
    for part in (
        "9 rows, 44.4% positive (1)",
        "  train: 5 rows, 40.0% positive",
        "numeric features: age, income, empty_in_train",
        "categorical features (categories): city (2), flag (2)",
        "  sex=f: 4 rows, 100.0% positive",
        "unknown sensitive value: sex 1 rows, race 2 rows",
        "values of race that are no category: c (1 rows)",
        "in test but not in train: city Kiev",
        "constant in train: empty_in_train",
    ):
        assert part in text.splitlines()
    assert str(small) == text


def test_facts_are_plain_values(small):
    def check(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                assert type(name) is str
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)
        else:
            assert value is None or type(value) in (int, float, str)

    check(small.describe())


def test_nothing_is_learned_outside_the_training_rows(module, table):
    split = np.repeat(["train", "validation", "test"], [200, 100, 100])
    frame = table.assign(split=split)
    changed = frame.copy()
    outside = changed["split"] != "train"
    changed.loc[outside, "hours"] = 1e6
    changed.loc[outside, "job"] = "astronaut"
    changed.loc[outside, "age"] = changed.loc[outside, "age"] * 50
    first, second = (module(source=source, split="split") for source in (frame, changed))
    for data in (first, second):
        data.setup()
        numeric = data.batch("train").inputs[0]
        assert numeric.mean(0).abs().max() < 1e-6
        assert (numeric.std(0, correction=0) - 1).abs().max() < 1e-6
    for one, two in zip(first.batch("train").inputs, second.batch("train").inputs, strict=True):
        assert torch.equal(one, two)
    assert second.cardinalities == first.cardinalities
    assert second.batch("test").inputs[1][:, 0].eq(0).all()
    assert second.describe()["unseen"]["test"] == {"job": ["astronaut"]}


def test_seed_fixes_the_splits(module):
    rows = []
    for seed in (0, 0, 1):
        data = module(seed=seed)
        data.setup()
        rows.append(data.batch("test").index.tolist())
    assert rows[0] == rows[1] != rows[2]


def test_setup_runs_once_and_serves_all_stages(module):
    data = module()
    data.setup("fit")
    batch, groups = data.batch("train"), data.groups
    data.setup("test")
    assert data.batch("train") is batch
    assert data.groups is groups


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip", "t.parquet"])
def test_formats_give_the_same_batches(module, table, tmp_path, name):
    path = tmp_path / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    data, expected = (module(source=source, weight="hours") for source in (str(path), table))
    data.setup()
    expected.setup()
    one, two = data.batch("test"), expected.batch("test")
    for got, wanted in zip((*one.inputs, *one[1:5]), (*two.inputs, *two[1:5]), strict=True):
        assert torch.equal(got, wanted)


def test_classic_csv_with_spaces_after_commas(module, table, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table.to_csv(index=False).replace(",", ", "))
    data = module(source=path)
    data.setup()
    assert data.groups.to_dict() == {"sex": ["f", "m"], "race": ["a", "b", "c"]}


def test_features_are_inferred_by_type(module, table):
    data = module(source=table.assign(flag=table["age"] > 30), ignore=["town"])
    data.setup()
    facts = data.describe()
    assert facts["numeric"] == ["age", "hours"]
    assert list(facts["categorical"]) == ["job", "flag"]
    named = module(numeric=["hours"])
    named.setup()
    assert named.describe()["unused"] == ["age"]


def test_sensitive_columns_are_features_only_on_request(module, table):
    data = module()
    data.setup()
    assert not {"sex", "race"} & set(data.feature_names)
    included = module(include_sensitive=True)
    included.setup()
    assert included.feature_names == ["age", "hours", "job", "town", "sex", "race"]
    named = module(include_sensitive=True, categorical=["race", "job"], numeric=["age"])
    named.setup()
    assert named.feature_names == ["age", "race", "job", "sex"]


def test_new_rows_need_neither_label_nor_sensitive_columns(module, table):
    data = module()
    data.setup()
    rows = data.frame("test").drop(columns=["label", "sex", "race"])
    for got, expected in zip(data.encode(rows), data.batch("test").inputs, strict=True):
        assert torch.equal(got, expected)
    odd = pd.DataFrame({"age": [30.5], "hours": [None], "job": ["pilot"], "town": [None]})
    numeric, categorical = data.encode(odd)
    assert torch.isfinite(numeric).all()
    assert categorical.tolist() == [[0, 0]]
    assert [values.shape for values in data.encode(rows.head(0))] == [(0, 2), (0, 2)]


@pytest.mark.parametrize(
    ("numeric", "categorical", "shapes"),
    [(["age"], [], ((240, 1), (240, 0))), ([], ["job"], ((240, 0), (240, 1)))],
)
def test_one_kind_of_feature_is_enough(module, numeric, categorical, shapes):
    data = module(numeric=numeric, categorical=categorical)
    data.setup()
    assert tuple(values.shape for values in data.batch("train").inputs) == shapes
    assert len(list(data.train_dataloader())) == 1


@pytest.mark.parametrize(
    ("values", "positive", "label"),
    [
        ([0, 1], None, "1"),
        ([0.0, 1.0], None, "1"),
        ([False, True], None, "True"),
        (["0", "1"], None, "1"),
        ([1, 2], 2, "2"),
        ([1.0, 2.0], 1, "1"),
        (["bad", "good"], "bad", "bad"),
    ],
)
def test_labels(module, table, values, positive, label):
    second = (table["label"] == "yes").to_numpy()
    source = table.assign(label=np.where(second, values[1], values[0]))
    data = module(source=source, positive=positive)
    data.setup()
    assert data.describe()["positive"] == label
    wanted = second if str(values[1]) in (label, f"{label}.0") else ~second
    assert data.batch("train").target.tolist() == wanted[data.batch("train").index].tolist()


def test_numeric_categories_are_sorted_as_numbers_and_typed_freely(module, table):
    band = np.resize([10, 9, 2], 400)
    for column in (band, band.astype(float), pd.Categorical(band)):
        data = module(source=table.assign(band=column), sensitive=["band"], ignore=["sex"])
        data.setup()
        assert data.groups.to_dict() == {"band": ["2", "9", "10"]}
        assert data.describe()["unknown_sensitive"] == {"band": 0}
    for column, values in ((band, [10, 2]), (band.astype(float), [10.0, 2.0])):
        listed = module(source=table.assign(band=column), sensitive={"band": values})
        listed.setup()
        assert listed.groups.to_dict() == {"band": ["10", "2"]}
    assert listed.describe()["unlisted_sensitive"] == {"band": {"9": 133}}


def test_loaders(module):
    data = module(batch_size=50, eval_batch_size=30)
    data.setup()
    train, val, test = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert (len(train), len(val), len(test), len(data.predict_dataloader())) == (4, 3, 3, 3)
    assert {len(batch.target) for batch in train} == {50}
    rows = torch.cat([batch.index for batch in test])
    assert torch.equal(rows, data.batch("test").index)


def test_a_batch_in_place_is_handed_on_untouched(module):
    data = module()
    data.setup()
    batch = data.batch("test")
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert isinstance(moved, Batch)
    assert moved.inputs[1].device.type == "meta"


def test_checkpoints_stay_loadable_with_a_table_in_memory(module, recorder, tmp_path):
    data = module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(recorder(2), data)
    torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert len(pickle.loads(pickle.dumps(module())).roles.sensitive) == 2


def test_use_before_setup(module):
    with pytest.raises(SetupError, match=r"Mend: call datamodule.setup\(\) first"):
        _ = module().groups
    assert "TabularDataModule" in str(module())


def test_splits_are_named(module):
    data = module()
    data.setup()
    with pytest.raises(ArgumentError, match="expected one of train, validation, test"):
        data.batch("holdout")


def test_the_source_table_is_left_alone(module, table):
    before = table.copy()
    source = table.set_index("hours", drop=False)
    module(source=source).setup()
    pd.testing.assert_frame_equal(table, before)
    assert source.index.name == "hours"
