"""The models of the game 0 A.D.: its files (`models`, `actors`), whole objects of them (`assembly`), which ones."""
