# %% [markdown]
# # TOY
